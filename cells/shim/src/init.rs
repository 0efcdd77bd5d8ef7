//! Pid 1 of a container: starts the command, passes signals on to it, reaps whatever else ends, and reports the command's
//! status to the shim. When it returns, the kernel ends all other processes of the container.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use crate::command::{Command, Streams};
use crate::sys;

/// Runs the command to its end and returns its status.
///
/// `shim` carries one byte a signal inwards, and the four bytes of the status outwards. `errors` is where the reason
/// goes if the command cannot be run; it closes on exec, so its end tells the shim that the command has begun.
pub(crate) fn run(
    command: &Command,
    streams: Streams,
    mut shim: UnixStream,
    errors: OwnedFd,
) -> i32 {
    // Before the fork, or the command could end before its end can be noticed.
    let Ok(signals) = sys::signals_as_fd() else {
        return 125;
    };
    let mut errors = std::fs::File::from(errors);
    let child = match sys::fork() {
        Ok(0) => {
            let _ = sys::new_session();
            let reason = command.become_it(&streams);
            let _ = errors.write_all(reason.as_bytes());
            sys::exit_now(127);
        }
        Ok(child) => child,
        Err(error) => {
            let _ = errors.write_all(format!("fork: {error}").as_bytes());
            return 125;
        }
    };
    drop((streams, errors));
    if shim.set_nonblocking(true).is_err() {
        return 125;
    }
    loop {
        let mut fds = [
            sys::poll_in(signals.as_raw_fd()),
            sys::poll_in(shim.as_raw_fd()),
        ];
        if sys::poll(&mut fds, None).is_err() {
            return 125;
        }
        while let Some(signal) = sys::next_signal(signals.as_fd()) {
            if signal != libc::SIGCHLD {
                let _ = sys::kill(child, signal);
            }
        }
        if fds[1].revents != 0 && !forward(&mut shim, child) {
            return 137;
        }
        while let Some(ended) = sys::reap() {
            if ended.pid == child {
                let _ = shim.set_nonblocking(false);
                let _ = shim.write_all(&ended.status.to_be_bytes());
                return ended.status;
            }
        }
    }
}

/// Passes the shim's signals on. False once the shim is gone, and with it everybody who could ask for this container.
fn forward(shim: &mut UnixStream, child: i32) -> bool {
    let mut bytes = [0; 16];
    match shim.read(&mut bytes) {
        Ok(0) => false,
        Ok(count) => {
            for signal in &bytes[..count] {
                let _ = sys::kill(child, i32::from(*signal));
            }
            true
        }
        Err(error) => {
            error.kind() == std::io::ErrorKind::WouldBlock
                || error.kind() == std::io::ErrorKind::Interrupted
        }
    }
}
