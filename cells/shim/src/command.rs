//! The last steps before the command: how it is found, and what it inherits.

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use crate::config::Process;
use crate::sys;

const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Standard streams of the command.
pub(crate) struct Streams {
    pub(crate) out: OwnedFd,
    pub(crate) err: OwnedFd,
}

/// A command ready for exec: all strings are converted before the fork, so that errors are plain errors.
pub(crate) struct Command {
    args: Vec<CString>,
    env: Vec<CString>,
    candidates: Vec<CString>,
    name: String,
    cwd: String,
}

impl Command {
    pub(crate) fn new(process: &Process, env: &[(String, String)]) -> Result<Self, String> {
        let name = process.args.first().ok_or("the command is empty")?.clone();
        let bad = |what: &str| format!("{what} holds a NUL byte");
        let args = process.args.iter().map(|arg| sys::c_string(arg.as_str()));
        let args = args
            .collect::<io::Result<_>>()
            .map_err(|_| bad("an argument"))?;
        let env_strings = env.iter().map(|(key, value)| {
            if key.is_empty() || key.contains('=') {
                return Err("an environment variable's name is empty or holds '='".to_owned());
            }
            sys::c_string(format!("{key}={value}"))
                .map_err(|_| bad(&format!("environment variable {key}")))
        });
        let env_strings = env_strings.collect::<Result<_, _>>()?;
        let candidates = if name.contains('/') {
            vec![sys::c_string(name.as_str()).map_err(|_| bad("the program"))?]
        } else {
            let path = env
                .iter()
                .find(|(key, _)| key == "PATH")
                .map_or(DEFAULT_PATH, |(_, value)| value);
            let folders = path.split(':').filter(|folder| !folder.is_empty());
            let found = folders.map(|folder| sys::c_string(format!("{folder}/{name}")));
            found
                .collect::<io::Result<_>>()
                .map_err(|_| bad("the program"))?
        };
        Ok(Self {
            args,
            env: env_strings,
            candidates,
            name,
            cwd: process.cwd.clone(),
        })
    }

    /// Becomes the command. Returns only with the reason why that failed.
    ///
    /// Everything above descriptor 2 is closed by the exec itself, in any case.
    pub(crate) fn become_it(&self, streams: &Streams) -> String {
        use std::os::fd::AsFd;
        let prepared = self.inherit(streams.out.as_fd(), streams.err.as_fd());
        if let Err(error) = prepared {
            return format!("prepare the command's streams: {error}");
        }
        if let Err(error) = enter_folder(&self.cwd) {
            return format!("change to {}: {error}", self.cwd);
        }
        let mut worst = io::Error::from_raw_os_error(libc::ENOENT);
        for program in &self.candidates {
            let error = sys::exec(program, &self.args, &self.env);
            // As shells do: a program that exists and cannot be run is the better reason.
            if error.raw_os_error() != Some(libc::ENOENT) {
                worst = error;
            }
        }
        format!("run {}: {worst}", self.name)
    }

    fn inherit(&self, out: BorrowedFd<'_>, err: BorrowedFd<'_>) -> io::Result<()> {
        use std::os::fd::AsFd;
        sys::reset_signals()?;
        sys::dup_onto(std::fs::File::open("/dev/null")?.as_fd(), 0)?;
        sys::dup_onto(out, 1)?;
        sys::dup_onto(err, 2)?;
        sys::close_on_exec_from(3)
    }
}

/// Changes the folder, and makes sure that it is one of this file tree.
fn enter_folder(path: &str) -> io::Result<()> {
    if !Path::new(path).is_absolute() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not an absolute path",
        ));
    }
    std::env::set_current_dir(path)?;
    std::env::current_dir().map(drop)
}
