//! What engine and shim say to each other: at the start over the shim's standard input, later through files and the
//! control socket in the container's folder.
//!
//! Start-up, on a stream socket, in frames of a big-endian `u32` length and that many bytes:
//! the engine sends a [`Handover`] and then one frame per seccomp filter; the shim answers [`Event::Created`] with the
//! init's pid; the engine wires the network, while the container prepares itself, and sends an empty frame; the shim answers
//! [`Event::Started`], or at any time [`Event::Failed`]. An engine that goes away before `Started` ends the container.
//!
//! Afterwards, on `control.sock`, a client sends one word a line and reads one line for it: [`TERMINATE`] and [`KILL`]
//! answer `ok`, [`STATUS`] answers a [`Status`]. The connection closes when the container has ended and `exit.json` lies
//! there, so a client waits by reading.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

pub const STATE_FILE: &str = "state.json";
pub const EXIT_FILE: &str = "exit.json";
pub const CONTROL_SOCKET: &str = "control.sock";
pub const LOG_DIR: &str = "logs";

pub const TERMINATE: &str = "terminate";
pub const KILL: &str = "kill";
pub const STATUS: &str = "status";

/// Largest frame: an environment is bounded by the kernel's own limit for exec, 2 MiB of strings, plus JSON escapes.
const MAX_FRAME_BYTES: u32 = 16 * 1024 * 1024;

/// Secrets. Never written anywhere.
#[derive(Serialize, Deserialize)]
#[allow(missing_debug_implementations, reason = "secrets")]
pub struct Handover {
    pub env: Vec<(String, String)>,
    /// How many frames with seccomp programs follow, each an array of `struct sock_filter`.
    pub filters: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The namespaces exist; `pid` is the init as the host sees it.
    Created {
        pid: i32,
    },
    /// The command has begun.
    Started,
    Failed {
        message: String,
    },
}

/// `state.json`, written before [`Event::Started`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The container's init, or the command of a plain process, as the host sees it.
    pub pid: i32,
    /// Start time of `pid` in clock ticks since boot, so that a reused pid is noticed.
    pub pid_start: u64,
    pub shim_pid: i32,
    pub shim_start: u64,
    pub boot_id: String,
}

/// `exit.json`, written once the container has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub status: i32,
    pub oom_killed: bool,
    pub peak_memory_bytes: u64,
    pub ran_ms: u64,
    pub log_bytes: u64,
    #[serde(default)]
    pub fill: Fill,
}

/// How full the container's own file systems are; absent for those that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fill {
    pub scratch: Option<DiskFill>,
    pub cache: Option<DiskFill>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFill {
    pub used_bytes: u64,
    /// Hardly a byte or not an inode is free, so that writes fail.
    pub full: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Status {
    /// Output so far.
    pub log_bytes: u64,
    #[serde(default)]
    pub fill: Fill,
}

pub fn write_frame(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|length| *length <= MAX_FRAME_BYTES);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "frame too large"))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(bytes)
}

pub fn read_frame(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "frame too large",
        ));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Start time of a process in clock ticks since boot; `None` if there is no such process.
#[must_use]
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in the second field may hold anything, also spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

impl State {
    /// Whether the init is still the process that was started.
    #[must_use]
    pub fn init_is_alive(&self) -> bool {
        self.boot_id == boot_id() && start_time(self.pid) == Some(self.pid_start)
    }

    #[must_use]
    pub fn shim_is_alive(&self) -> bool {
        self.boot_id == boot_id() && start_time(self.shim_pid) == Some(self.shim_start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire_and_are_bounded() {
        let mut wire = Vec::new();
        write_frame(&mut wire, b"one").expect("fits");
        write_frame(&mut wire, b"").expect("fits");
        let mut reader = wire.as_slice();
        assert_eq!(read_frame(&mut reader).expect("first"), b"one");
        assert_eq!(read_frame(&mut reader).expect("second"), b"");
        assert!(
            read_frame(&mut reader).is_err(),
            "the end is an error, not an empty frame"
        );
        assert!(
            read_frame(&[0xff, 0xff, 0xff, 0xff, 1][..]).is_err(),
            "a huge length is refused before it is allocated"
        );
    }

    #[test]
    fn a_process_is_known_by_pid_and_start_time() {
        let own = std::process::id().try_into().expect("pids are positive");
        let start = start_time(own).expect("this process runs");
        let state = State {
            pid: own,
            pid_start: start,
            shim_pid: own,
            shim_start: start + 1,
            boot_id: boot_id(),
        };
        assert!(state.init_is_alive() && !state.shim_is_alive());
    }
}
