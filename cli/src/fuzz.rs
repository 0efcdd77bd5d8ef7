//! Doors to this crate's readers of what is pushed, for the fuzz targets.

use std::path::Path;

/// Whether the text of a `.cfignore` keeps `path` out of the push.
pub fn ignored(rules: &str, path: &Path, is_folder: bool) -> Result<bool, String> {
    crate::files::fuzz::ignored(rules, path, is_folder)
}

/// The paths of the files and links that a push of this archive sends.
pub fn archive(path: &Path) -> Result<Vec<String>, String> {
    crate::files::fuzz::archive(path)
}
