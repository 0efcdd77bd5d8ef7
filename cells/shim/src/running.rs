//! A container that runs: its output is pumped, its clients are answered, and in the end its exit is written down.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::control::Control;
use crate::disks::Disks;
use crate::logs::{Lines, LogWriter, Stream};
use crate::protocol::{self, ExitRecord, Status};
use crate::sys;

/// How long the last output of a plain process is waited for after its end, should a stray child hold the pipe.
const DRAIN: Duration = Duration::from_secs(2);
const READ_BYTES: usize = 64 * 1024;
/// More than any exit record has.
const RESERVED: u32 = 1024;

/// A container whose command has begun.
pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// To the container's init; absent for a plain process.
    pub(crate) init: Option<UnixStream>,
    pub(crate) out: Option<File>,
    pub(crate) err: Option<File>,
    pub(crate) log: LogWriter,
    pub(crate) out_lines: Lines,
    pub(crate) err_lines: Lines,
    pub(crate) control: Control,
    pub(crate) disks: Disks,
    pub(crate) config: Config,
    pub(crate) started: Instant,
    /// The command's status, once known.
    pub(crate) status: Option<i32>,
    pub(crate) peak_bytes: u64,
}

impl Running {
    pub(crate) fn until_it_ends(mut self) -> i32 {
        loop {
            let raw = |file: &Option<File>| file.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let init = self.init.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let own = [self.pidfd.as_raw_fd(), raw(&self.out), raw(&self.err), init];
            let mut fds: Vec<_> = own
                .into_iter()
                .chain(self.control.fds())
                .map(sys::poll_in)
                .collect();
            if sys::poll(&mut fds, None).is_err() {
                return 1;
            }
            let ready = |at: usize| fds[at].revents != 0;
            let (ended, init_spoke, control) = (
                ready(0),
                ready(3),
                fds[4..].iter().any(|fd| fd.revents != 0),
            );
            if ready(1) {
                pump(
                    &mut self.out,
                    Stream::Out,
                    &mut self.out_lines,
                    &mut self.log,
                );
            }
            if ready(2) {
                pump(
                    &mut self.err,
                    Stream::Err,
                    &mut self.err_lines,
                    &mut self.log,
                );
            }
            if init_spoke {
                self.hear_init();
            }
            if control {
                self.answer();
            }
            if ended {
                break;
            }
            if self.config.linux.is_none() {
                // Orphans that came to the shim.
                self.reap();
            }
        }
        let ran = self.started.elapsed();
        self.hear_init();
        self.reap();
        if self.config.linux.is_none() {
            end_descendants(self.pid);
        }
        self.drain();
        let record = self.exit_record(ran);
        // Whoever reads the exit may open them anew, which must not happen while they are mounted here.
        drop(std::mem::take(&mut self.disks));
        let written = serde_json::to_vec(&record).map_err(io::Error::from);
        let written = written.and_then(|bytes| write_exit(&bytes));
        let _ = std::fs::remove_file(protocol::CONTROL_SOCKET);
        // Closing the control socket is what tells the waiting clients, and comes last.
        i32::from(written.is_err())
    }

    fn hear_init(&mut self) {
        let mut bytes = [0; 4];
        let Some(init) = &mut self.init else { return };
        match init.read_exact(&mut bytes) {
            Ok(()) => self.status = Some(i32::from_be_bytes(bytes)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.init = None,
        }
    }

    fn answer(&mut self) {
        // Not by its init: one that is ending has closed its socket, and may wait long for the last of its processes.
        let is_plain = self.config.linux.is_none();
        let Self {
            control,
            init,
            pidfd,
            pid,
            log,
            disks,
            ..
        } = self;
        control.serve(|request| match request {
            protocol::STATUS => serde_json::to_string(&Status {
                log_bytes: log.total_bytes(),
                fill: disks.fill(),
            })
            .unwrap_or_default(),
            protocol::TERMINATE => {
                let sent = match init {
                    Some(init) => init.write_all(&[libc::SIGTERM as u8]),
                    None if is_plain => sys::pidfd_kill(pidfd.as_fd(), libc::SIGTERM),
                    None => Ok(()),
                };
                reply(sent)
            }
            // Not by way of the init: this must work however busy or stuck the inside is. An init that is killed takes
            // all of its container with it.
            protocol::KILL => {
                let group = if is_plain {
                    sys::kill(-*pid, libc::SIGKILL)
                } else {
                    Ok(())
                };
                reply(group.and_then(|()| sys::pidfd_kill(pidfd.as_fd(), libc::SIGKILL)))
            }
            _ => "unknown request".to_owned(),
        });
    }

    fn reap(&mut self) {
        while let Some(ended) = sys::reap() {
            self.peak_bytes = self.peak_bytes.max(ended.peak_bytes);
            if ended.pid == self.pid && self.status.is_none() {
                self.status = Some(ended.status);
            }
        }
    }

    fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN;
        while self.out.is_some() || self.err.is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let raw = |file: &Option<File>| file.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            let mut fds = [sys::poll_in(raw(&self.out)), sys::poll_in(raw(&self.err))];
            if sys::poll(&mut fds, Some(left.as_millis() as i32 + 1)).is_err() {
                break;
            }
            pump(
                &mut self.out,
                Stream::Out,
                &mut self.out_lines,
                &mut self.log,
            );
            pump(
                &mut self.err,
                Stream::Err,
                &mut self.err_lines,
                &mut self.log,
            );
        }
        self.log.finish(Stream::Out, &mut self.out_lines);
        self.log.finish(Stream::Err, &mut self.err_lines);
    }

    fn exit_record(&self, ran: Duration) -> ExitRecord {
        let status = self.status.unwrap_or(128 + libc::SIGKILL);
        let cgroups = &self.config.slipway.cgroups;
        let number = |name: &str| {
            let files = cgroups
                .iter()
                .filter_map(|dir| std::fs::read_to_string(dir.join(name)).ok());
            files
                .filter_map(|text| text.trim().parse::<u64>().ok())
                .next()
        };
        let peak = number("memory.max_usage_in_bytes").or_else(|| number("memory.peak"));
        let oom_kills = ["memory.oom_control", "memory.events"]
            .iter()
            .flat_map(|name| {
                cgroups
                    .iter()
                    .filter_map(move |dir| std::fs::read_to_string(dir.join(name)).ok())
            })
            .any(|text| {
                text.lines().any(|line| {
                    line.strip_prefix("oom_kill ")
                        .is_some_and(|count| count != "0")
                })
            });
        ExitRecord {
            status,
            // The kernel may have killed a child that the command did without; that is no end by lack of memory.
            oom_killed: oom_kills && status != 0,
            peak_memory_bytes: peak.unwrap_or(self.peak_bytes),
            ran_ms: u64::try_from(ran.as_millis()).unwrap_or(u64::MAX),
            log_bytes: self.log.total_bytes(),
            fill: self.disks.fill(),
        }
    }
}

fn reply(result: io::Result<()>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => format!("error {error}"),
    }
}

/// Moves what a stream has to the log. A stream that has ended becomes `None`.
fn pump(stream: &mut Option<File>, kind: Stream, lines: &mut Lines, log: &mut LogWriter) {
    let Some(file) = stream else { return };
    let mut buffer = vec![0; READ_BYTES];
    match file.read(&mut buffer) {
        Ok(0) => *stream = None,
        Ok(count) => log.feed(kind, lines, &buffer[..count]),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) => {}
        Err(_) => *stream = None,
    }
}

/// Ends what a plain process left behind: its process group, and every orphan that came to the shim.
fn end_descendants(pid: i32) {
    let _ = sys::kill(-pid, libc::SIGKILL);
    let deadline = Instant::now() + DRAIN;
    let own = std::process::id();
    loop {
        while sys::reap().is_some() {}
        let children =
            std::fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
        let children: Vec<i32> = children
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
        if children.is_empty() || Instant::now() > deadline {
            return;
        }
        for child in children {
            let _ = sys::kill(child, libc::SIGKILL);
            if let Ok(pidfd) = sys::pidfd_open(child) {
                let _ = sys::poll(&mut [sys::poll_in(pidfd.as_raw_fd())], Some(100));
            }
        }
    }
}

/// Either the whole file is there, also after a power failure, or none.
/// Takes the room that the exit record will need, so that a disk which is full by then cannot keep it away. Best effort, since
/// some file systems have no such thing.
pub(crate) fn reserve_exit() {
    if let Ok(file) = File::create(fresh_exit()) {
        let _ = sys::allocate(file.as_fd(), RESERVED);
    }
}

fn fresh_exit() -> String {
    format!("{}.new", protocol::EXIT_FILE)
}

fn write_exit(bytes: &[u8]) -> io::Result<()> {
    let name = protocol::EXIT_FILE;
    let fresh = fresh_exit();
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&fresh)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()?;
    std::fs::rename(&fresh, name)?;
    File::open(".")?.sync_all()
}
