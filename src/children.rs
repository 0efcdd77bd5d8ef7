//! The supervisor's children: start them with their listeners, watch them, and take over those of an earlier supervisor.
//!
//! A child is known by its pid and the time it started, so that a pid that was given to another process since is not
//! mistaken for it. It is watched through a pidfd, which works for children of others too.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::paths::Paths;
use crate::roles::server::FIRST_INHERITED_FD;
use crate::run_file::{self, Lasts};
use crate::up::SERVER;

/// A running process of this platform.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    pidfd: AsyncFd<OwnedFd>,
    /// Present where this process started it, and so has to reap it.
    child: Option<std::process::Child>,
}

/// This program's own file, or the one that an upgrade has put in its place since.
pub(crate) fn own_exe() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("this program's own file can't be found")?;
    let newer = exe
        .to_str()
        .and_then(|path| path.strip_suffix(" (deleted)"))
        .map(PathBuf::from);
    Ok(match newer {
        Some(newer) if newer.exists() && !exe.exists() => newer,
        _ => exe,
    })
}

/// Starts `slipway ROLE ARGS` in a process group of its own, with `listeners` from descriptor 3 on. The next supervisor
/// finds it by what `write_pid` keeps of it.
pub(crate) fn start(
    paths: &Paths,
    role: &str,
    args: &[String],
    listeners: &[&OwnedFd],
) -> anyhow::Result<Running> {
    let exe = own_exe()?;
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(paths.log(role))?;
    let mut command = Command::new(exe);
    command
        .arg(role)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.process_group(0);
    if role != SERVER {
        // Only the server has a use for it.
        command.env_remove("SLIPWAY_ADMIN_PASSWORD");
    }
    pass(
        &mut command,
        listeners
            .iter()
            .map(|listener| listener.as_raw_fd())
            .collect(),
    );
    let mut child = command
        .spawn()
        .with_context(|| format!("the {role} can't be started"))?;
    let keep = || -> anyhow::Result<_> {
        let pid = i32::try_from(child.id()).context("a pid")?;
        Ok((pid, watch(pid)?))
    };
    match keep() {
        Ok((pid, pidfd)) => Ok(Running {
            pid,
            pidfd,
            child: Some(child),
        }),
        Err(error) => {
            // Nobody would see it end.
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

#[allow(
    unsafe_code,
    reason = "descriptors are passed on by number between fork and exec"
)]
fn pass(command: &mut Command, fds: Vec<RawFd>) {
    let place = move || {
        // First out of the way of the numbers they are to get, then there.
        let high = FIRST_INHERITED_FD + 64;
        for (offset, fd) in (0..).zip(&fds) {
            // SAFETY: dup2 is async-signal-safe, and both numbers are plain integers.
            if unsafe { libc::dup2(*fd, high + offset) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        for (offset, _) in (0..).zip(&fds) {
            // SAFETY: as above.
            if unsafe { libc::dup2(high + offset, FIRST_INHERITED_FD + offset) } < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the number was opened by the loop above, in this process only.
            unsafe { libc::close(high + offset) };
        }
        Ok(())
    };
    // SAFETY: the closure makes async-signal-safe calls only and allocates nothing.
    unsafe { command.pre_exec(place) };
}

/// The process that the pid file of a role names, if it still is the one.
pub(crate) fn find(paths: &Paths, role: &str) -> Option<i32> {
    let pid = fs::read_to_string(paths.pid(role))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let started = fs::read_to_string(paths.started(role)).ok()?;
    (start_time(pid).ok()?.to_string() == started.trim()).then_some(pid)
}

/// Watches a process that another supervisor started.
pub(crate) fn adopt(paths: &Paths, role: &str) -> Option<Running> {
    let pid = find(paths, role)?;
    let pidfd = watch(pid).ok()?;
    // The pid may have been given on between the look and the watch.
    (find(paths, role) == Some(pid)).then_some(Running {
        pid,
        pidfd,
        child: None,
    })
}

pub(crate) fn write_pid(paths: &Paths, role: &str, pid: i32) -> anyhow::Result<()> {
    let started = start_time(pid).with_context(|| format!("process {pid} is gone"))?;
    let write = |path: PathBuf, number: String| {
        run_file::replace(
            paths,
            &path,
            format!("{number}\n").as_bytes(),
            Lasts::UntilReboot,
        )
    };
    write(paths.started(role), started.to_string())
        .and_then(|()| write(paths.pid(role), pid.to_string()))
        .with_context(|| format!("{} can't be written", paths.pid(role).display()))
}

/// Field 22 of `/proc/PID/stat`: clock ticks since boot at which the process started. A process that has ended and was not
/// reaped yet counts as gone.
fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command name may hold blanks and parentheses; what follows the last one is plain.
    let fields = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest)
        .unwrap_or_default();
    if fields.split_whitespace().next() == Some("Z") {
        return Err(io::ErrorKind::NotFound.into());
    }
    let field = fields
        .split_whitespace()
        .nth(19)
        .and_then(|field| field.parse().ok());
    field.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

#[allow(
    unsafe_code,
    reason = "the safe constructor is deprecated in favour of this one"
)]
fn watch(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    let pidfd = open_pidfd(pid)?;
    // SAFETY: an OwnedFd names the same open descriptor for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}

#[allow(
    unsafe_code,
    reason = "the standard library has no stable pidfd for foreign processes"
)]
fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes a pid and flags; the result is checked.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Running {
    /// Completes when the process has ended.
    pub(crate) async fn ended(&mut self) {
        // A pidfd is readable from the end of its process on; an error of the readiness itself cannot be waited out.
        let _ = self.pidfd.readable().await;
        if let Some(child) = &mut self.child {
            // The process has ended, so this reaps it without waiting.
            let _ = child.wait();
        }
    }

    /// Waits at most `patience` for the end; says whether it came.
    pub(crate) async fn ended_within(&mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.ended()).await.is_ok()
    }

    #[allow(
        unsafe_code,
        reason = "signals through a pidfd reach this very process and no other"
    )]
    pub(crate) fn signal(&self, signal: i32) {
        let fd = self.pidfd.get_ref().as_raw_fd();
        // SAFETY: pidfd_send_signal with no siginfo; a process that has ended is a harmless error.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd,
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
    }

    /// Asks a process to end, and makes it after `patience`.
    pub(crate) async fn stop(&mut self, patience: Duration) {
        self.signal(libc::SIGTERM);
        if !self.ended_within(patience).await {
            self.signal(libc::SIGKILL);
            self.ended_within(Duration::from_secs(5)).await;
        }
    }

    /// A copy of one of the process's descriptors: how a new supervisor gets the listeners of its children.
    #[allow(unsafe_code, reason = "the standard library has no pidfd_getfd")]
    pub(crate) fn copy_fd(&self, fd: RawFd) -> io::Result<OwnedFd> {
        let pidfd = self.pidfd.as_fd().as_raw_fd();
        // SAFETY: pidfd_getfd takes two descriptors and flags; the result is checked.
        let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, fd, 0) };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        let copy =
            RawFd::try_from(copy).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        // SAFETY: the kernel just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(copy) })
    }
}
