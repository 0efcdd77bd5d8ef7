//! A process and its descendants, read from `/proc`.

use std::collections::HashMap;
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

/// Kills what is left of the session that a command without a shim began.
pub(super) fn end_session(state: &State) {
    let leader = protocol::start_time(state.pid);
    // While any process is left of it, the session's number is given to no other.
    if state.boot_id != protocol::boot_id() || leader.is_some_and(|start| start != state.pid_start)
    {
        return;
    }
    // Each may start one more while it is looked for.
    for _ in 0..100 {
        let session = members(state.pid);
        if session.is_empty() {
            return;
        }
        session.into_iter().for_each(kill);
    }
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
