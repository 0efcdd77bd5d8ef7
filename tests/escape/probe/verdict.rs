//! One attempt, its verdict, and the child process in which it is made.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::FromRawFd as _;
use std::time::Instant;

use super::sys;

/// Longer than any attempt needs; one that hangs is ended and its waiting counts as refused by nobody. An attempt to use
/// up something may take as long on a slow machine. The suite waits 300 s for an answer.
const MAX_SECONDS: u32 = 240;

/// How a line of the probe begins, among others of a build's output.
pub(crate) const MARK: &str = "probe: ";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The kernel or the platform said no.
    Refused(String),
    /// It went as far as the container's own limits or namespaces.
    Contained(String),
    Escaped(String),
}

pub(crate) use Verdict::{Contained, Escaped, Refused};

impl Verdict {
    const fn word(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Contained(_) => "contained",
            Self::Escaped(_) => "ESCAPED",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::Refused(detail) | Self::Contained(detail) | Self::Escaped(detail) => detail,
        }
    }
}

pub(crate) struct Attempt {
    name: String,
    make: Box<dyn FnOnce() -> Verdict>,
    /// Whether death by lack of memory, or for being slow, is one of the answers that are fine.
    may_be_killed: bool,
}

pub(crate) fn attempt(
    name: impl Into<String>,
    make: impl FnOnce() -> Verdict + 'static,
) -> Attempt {
    Attempt {
        name: name.into(),
        make: Box::new(make),
        may_be_killed: false,
    }
}

/// An attempt to use up something, which the limit of memory may end.
pub(crate) fn bomb(name: impl Into<String>, make: impl FnOnce() -> Verdict + 'static) -> Attempt {
    Attempt {
        may_be_killed: true,
        ..attempt(name, make)
    }
}

/// A call that must fail for lack of rights. Any other error means that it got further than it should.
pub(crate) fn forbidden<T>(result: io::Result<T>) -> Verdict {
    forbidden_or(result, &[])
}

/// As [`forbidden`], where some other errors mean the same.
pub(crate) fn forbidden_or<T>(result: io::Result<T>, fine: &[i32]) -> Verdict {
    const NO: [i32; 4] = [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EROFS];
    match result {
        Ok(_) => Escaped("it worked".into()),
        Err(error) => match error.raw_os_error() {
            Some(code) if NO.contains(&code) || fine.contains(&code) => Refused(text(&error)),
            _ => Escaped(format!(
                "it got past the check for rights: {}",
                text(&error)
            )),
        },
    }
}

pub(crate) fn text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl Attempt {
    /// Makes the attempt in a child and returns the line that tells of it.
    pub(crate) fn run(self) -> String {
        let name = self.name.clone();
        let verdict = self.in_child();
        let detail = verdict.detail().replace(['\n', '\r'], " ");
        format!("{MARK}{} {name}: {detail}", verdict.word())
    }

    fn in_child(self) -> Verdict {
        let began = Instant::now();
        let (read, write) = match sys::pipe() {
            Ok(ends) => ends,
            Err(error) => return Escaped(format!("not tried, no pipe: {error}")),
        };
        let may_be_killed = self.may_be_killed;
        let child = match sys::fork() {
            Ok(0) => {
                sys::close(read);
                sys::die_after(MAX_SECONDS);
                // The one that bombs dies of it, not the one that watches.
                let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
                let verdict = (self.make)();
                let line = format!("{} {}", verdict.word(), verdict.detail());
                let _ = sys::write(write, &line.as_bytes()[..line.len().min(3000)]);
                sys::exit(0);
            }
            Ok(child) => child,
            Err(error) => return Escaped(format!("not tried, no child: {error}")),
        };
        sys::close(write);
        let status = sys::wait(child).unwrap_or(-1);
        let mut line = String::new();
        let _ = from_fd(read).read_to_string(&mut line);
        let word = line.split(' ').next().unwrap_or_default();
        let detail = line.split_once(' ').map_or("", |(_, rest)| rest).to_owned();
        match word {
            "refused" => Refused(detail),
            "contained" => Contained(detail),
            "ESCAPED" => Escaped(detail),
            _ => ended(status, may_be_killed, began),
        }
    }
}

/// What it means that a child ended without a word.
fn ended(status: i32, may_be_killed: bool, began: Instant) -> Verdict {
    let signal = status & 0x7f;
    match signal {
        libc::SIGSYS => Refused("ended by the system-call filter".into()),
        libc::SIGKILL if may_be_killed => Contained(format!(
            "ended by its memory limit after {} ms",
            began.elapsed().as_millis()
        )),
        libc::SIGALRM if may_be_killed => {
            Contained(format!("still at it after {} s", began.elapsed().as_secs()))
        }
        _ => Escaped(format!(
            "no verdict: the attempt ended with wait status {status:#x}"
        )),
    }
}

#[allow(unsafe_code, reason = "a descriptor that was made by a raw call")]
fn from_fd(fd: i32) -> File {
    // SAFETY: the read end of a fresh pipe, owned by nobody else.
    unsafe { File::from_raw_fd(fd) }
}
