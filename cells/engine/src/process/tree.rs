//! A process and its descendants, read from `/proc`.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use cells_shim::protocol::{self, State};

/// All descendants of `root`, without itself.
pub(super) fn descendants(root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in pids() {
        if let Some(parent) = stat_field(pid, 1).and_then(|text| text.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.remove(&root).unwrap_or_default();
    let mut next = 0;
    while next < found.len() {
        found.extend(children.remove(&found[next]).unwrap_or_default());
        next += 1;
    }
    found
}

/// Kills what is left of the session that a command without a shim began, whose container has the folder `dir`.
pub(super) fn end_session(state: &State, dir: &Path) {
    let leader = protocol::start_time(state.pid);
    if state.boot_id != protocol::boot_id() || leader.is_some_and(|start| start != state.pid_start)
    {
        return;
    }
    // Each may start one more while it is looked for.
    for _ in 0..100 {
        let mut session = members(state.pid);
        // Once all of it was gone, its number may have been given to a session whose leader is gone too.
        session.retain(|&pid| leader.is_some() || belongs_to(dir, pid));
        if session.is_empty() {
            return;
        }
        session.into_iter().for_each(kill);
    }
}

/// Whether a process works in a container's folder, or was started with an environment that names something in it, as the
/// home folder is.
fn belongs_to(dir: &Path, pid: i32) -> bool {
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
    let real = dir.canonicalize();
    let works_there = cwd.is_ok_and(|cwd| real.is_ok_and(|dir| cwd.starts_with(dir)));
    // With a slash at its end.
    let below = dir.join("");
    let below = below.as_os_str().as_bytes();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    works_there || environment.windows(below.len()).any(|part| part == below)
}

fn members(session: i32) -> Vec<i32> {
    let is_member = |pid: &i32| {
        let is_dead = stat_field(*pid, 0).is_some_and(|state| state == "Z");
        !is_dead && stat_field(*pid, 3).and_then(|text| text.parse().ok()) == Some(session)
    };
    pids().filter(is_member).collect()
}

#[allow(
    unsafe_code,
    reason = "the standard library cannot signal a process by its pid"
)]
fn kill(pid: i32) {
    // SAFETY: plain integers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// CPU time and resident memory in bytes of some processes together; ended ones count as nothing.
pub(super) fn usage(pids: &[i32]) -> (Duration, u64) {
    // Fixed by the kernel's ABI towards user space on every architecture that Rust's standard library supports.
    const TICKS_PER_SECOND: u64 = 100;
    let number = |pid, field| {
        stat_field(pid, field)
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let page = 4096;
    let ticks: u64 = pids
        .iter()
        .map(|&pid| number(pid, 11) + number(pid, 12))
        .sum();
    let pages: u64 = pids.iter().map(|&pid| number(pid, 21)).sum();
    (
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
        pages * page,
    )
}

/// A field of `/proc/PID/stat`, counted from the process state, which follows the name.
fn stat_field(pid: i32, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(field)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    /// Begins a session of which only one process is left when this returns, and gives the number of the session.
    fn session_without_leader(configure: impl Fn(&mut Command) -> &mut Command) -> i32 {
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", "sleep 300 <&- >&- 2>&- & echo $$"]);
        let output = configure(&mut command).stdin(Stdio::null()).output();
        let session = String::from_utf8(output.expect("setsid").stdout).expect("a number");
        session.trim().parse().expect("a number")
    }

    #[test]
    fn a_session_without_its_leader_is_ended_only_where_it_is_the_containers_own() {
        let folder = tempfile::tempdir().expect("temp dir");
        let [other, dir] = ["a", "ab"].map(|name| folder.path().join(name));
        let home = dir.join("home");
        std::fs::create_dir_all(&home).expect("folder");
        std::fs::create_dir_all(&other).expect("folder");
        let sessions = [
            session_without_leader(|command| command.env("HOME", &home)),
            session_without_leader(|command| command.current_dir(&home)),
        ];
        for session in sessions {
            let state = State {
                pid: session,
                pid_start: 0,
                shim_pid: 0,
                shim_start: 0,
                boot_id: protocol::boot_id(),
            };
            assert_eq!(protocol::start_time(session), None, "the leader is gone");
            end_session(&state, &other);
            let left = members(session);
            assert_eq!(left.len(), 1, "it may be anybody's");
            assert!(!belongs_to(&other, left[0]));
            let begun = Instant::now();
            while !members(session).is_empty() {
                assert!(begun.elapsed() < Duration::from_secs(30), "still there");
                end_session(&state, &dir);
            }
        }
    }
}
