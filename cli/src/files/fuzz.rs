//! See [`crate::fuzz`].

use std::path::Path;

use super::ignored::Ignored;
use super::{FileSet, Kind};

pub(crate) fn ignored(rules: &str, path: &Path, is_folder: bool) -> Result<bool, String> {
    Ok(Ignored::new(rules)
        .map_err(|error| error.to_string())?
        .covers(path, is_folder))
}

pub(crate) fn archive(path: &Path) -> Result<Vec<String>, String> {
    let set = FileSet::gather(path).map_err(|error| error.to_string())?;
    Ok(set
        .entries
        .into_iter()
        .filter(|entry| matches!(entry.kind, Kind::File { .. } | Kind::Link { .. }))
        .map(|entry| entry.path)
        .collect())
}
