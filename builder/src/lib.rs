//! The lifecycle: what runs inside a staging container and at the start of every instance.
//!
//! `slipway lifecycle build` unpacks a source, lets the buildpacks build it and exports the result as reproducible
//! layers ([`build`]). `slipway lifecycle launch` prepares a process's surroundings and becomes that process
//! ([`launch`]). Both run as the app's user on untrusted ground: nothing here holds a secret of the platform, opens a
//! connection to it, or believes that a file is what its name says. The cell checks all that comes out.
//!
//! Start with [`build::run`].

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;

pub mod build;
pub mod launch;

mod detect;
mod export;
mod layer;
mod normalise;
mod unpack;
mod zip_directory;

#[cfg(feature = "fuzz")]
pub mod fuzz;

const USAGE: &str = "usage: slipway lifecycle build --spec FILE\n       slipway lifecycle launch --home DIR -- COMMAND\n";

/// Runs `slipway lifecycle ARGS`; the answer is the exit status. `launch` only returns where it could not start.
#[must_use]
pub fn main(args: &[OsString]) -> i32 {
    let words: Vec<Option<&str>> = args.iter().map(|word| word.to_str()).collect();
    let result = match words.as_slice() {
        [Some("build"), Some("--spec"), _] => build::main(&PathBuf::from(&args[2])),
        [Some("launch"), Some("--home"), _, Some("--"), _] => {
            Err(launch::launch(&PathBuf::from(&args[2]), &args[4]))
        }
        _ => {
            say(USAGE);
            return 2;
        }
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("slipway lifecycle: {error:#}\n"));
            1
        }
    }
}

/// Where standard error is closed there is nobody to tell.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
