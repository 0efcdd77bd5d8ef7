//! The shim: the parent of one container.
//!
//! The engine runs `EXE shim --dir DIR` with a socket as standard input. The shim detaches from its starter, makes the
//! namespaces, waits for the engine to wire the network, and starts the command under a small init. From then on it
//! belongs to pid 1 of the host, so that a killed agent takes nobody with it: it writes the output into
//! `DIR/logs`, answers on `DIR/control.sock`, and leaves `DIR/exit.json` behind.
//!
//! It is single-threaded from its first instruction to its last, because it forks and runs code between fork and exec.
//! It never opens a network connection and never writes an environment variable's value anywhere. Start reading in
//! [`supervise`], then [`container`] for what happens inside.

mod command;
pub mod config;
mod container;
mod control;
mod disks;
mod init;
mod logs;
mod mapping;
mod network;
mod privileges;
pub mod protocol;
mod rootfs;
mod running;
mod supervise;
mod sys;

use std::ffi::OsString;
use std::path::PathBuf;

/// `EXE shim --check-mapping DIR` ends with 0 if containers with their files in `DIR` can have users of their own, and else
/// says on standard output why not.
pub const CHECK_MAPPING: &str = "--check-mapping";

/// Runs the shim with the arguments after the word `shim` and returns the exit code of the process.
///
/// Call it as the very first thing in `main`, before any thread or runtime exists. It returns at once in the process
/// that the engine spawned; the shim itself goes on in a grandchild.
pub fn main(args: &[OsString]) -> i32 {
    let dir = match args {
        [flag, dir] if flag == "--dir" => PathBuf::from(dir),
        [flag, dir] if flag == CHECK_MAPPING => return mapping::check(&PathBuf::from(dir)),
        _ => return 2,
    };
    sys::close_inherited();
    sys::set_umask(0o077);
    match sys::detach() {
        Ok(sys::Detached::Starter) => 0,
        Ok(sys::Detached::Daemon) => supervise::run(&dir),
        Err(_) => 1,
    }
}
