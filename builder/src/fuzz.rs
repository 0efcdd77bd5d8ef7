//! Doors to this crate's readers of zip files, for the fuzz targets.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Unpacks a source and answers the paths of its files and links, or why it is refused.
pub fn unpack(package: &Path, to: &Path, max_bytes: u64) -> Result<HashSet<PathBuf>, String> {
    crate::unpack::unpack(package, to, max_bytes).map_err(|error| error.to_string())
}

/// Makes an archive that a build wrote reproducible, in place.
pub fn normalise(archive: &Path) -> Result<(), String> {
    crate::normalise::normalise(archive).map_err(|error| error.to_string())
}
