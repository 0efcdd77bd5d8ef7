//! Doors to this crate's readers of what builds and apps leave, for the fuzz targets.

use std::fs::File;
use std::io;
use std::path::Path;

use model::droplet::{Layer, Stack};

/// Unpacks a packed layer below the empty folder `root`.
pub fn unpack_layer(packed: &[u8], layer: &Layer, root: &Path) -> Result<(), String> {
    crate::layers::fuzz::unpack(packed, layer, root)
}

/// Checks a packed layer as unpacking does.
pub fn check_layer(packed: &[u8], layer: &Layer) -> Result<(), String> {
    crate::layers::check(packed, layer).map_err(|error| crate::cell::text_of(&error))
}

/// The times of a log file's records from `start_ns` on, or backwards from `end_ns`.
pub fn log_times(file: File, direction: LogDirection) -> io::Result<Vec<i64>> {
    crate::logs::fuzz::times(file, direction)
}

/// How to read a log file.
#[derive(Debug, Clone, Copy)]
pub enum LogDirection {
    Forward { start_ns: i64 },
    Backward { end_ns: Option<i64> },
}

/// Reads the result of a build in the folder `out`: whether it is one.
pub fn build_result(out: &Path, stack: &Stack) -> Result<(), String> {
    crate::staging::fuzz::result(out, stack)
}
