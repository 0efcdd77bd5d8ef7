//! A look at an unpacked source.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most folders above a file that is found by a search.
pub(crate) const MAX_DEPTH: usize = 40;

/// The source's folder and the names at its root.
#[derive(Debug, Clone)]
pub struct Source {
    root: PathBuf,
    files: Vec<String>,
    folders: Vec<String>,
}

impl Source {
    /// Most names of the root folder that are looked at.
    const MAX_NAMES: usize = 10_000;

    /// # Errors
    /// The folder cannot be read.
    pub fn open(root: &Path) -> io::Result<Self> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(root)?.take(Self::MAX_NAMES) {
            let entry = entry?;
            // A link counts as what it points to; one that points nowhere is of no interest.
            let Ok(meta) = fs::metadata(entry.path()) else {
                continue;
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            if meta.is_dir() {
                folders.push(name);
            } else if meta.is_file() {
                files.push(name);
            }
        }
        files.sort();
        folders.sort();
        Ok(Self {
            root: root.to_owned(),
            files,
            folders,
        })
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Names of the files at the root, sorted.
    #[must_use]
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Names of the folders at the root, sorted.
    #[must_use]
    pub fn folders(&self) -> &[String] {
        &self.folders
    }

    #[must_use]
    pub fn has(&self, file: &str) -> bool {
        self.files.iter().any(|name| name == file)
    }

    /// The text of a file below the root, if it exists and is at most `max_bytes` long. Bytes that are not UTF-8 become
    /// U+FFFD.
    #[must_use]
    pub fn text(&self, path: impl AsRef<Path>, max_bytes: u64) -> Option<String> {
        read_text(&self.root.join(path), max_bytes)
    }

    /// Files below `folder` whose name ends in `suffix`, sorted, at most `limit`. Hidden folders and those below 40 others
    /// are left out, and links to folders are not followed.
    #[must_use]
    pub fn find(&self, folder: &str, suffix: &str, limit: usize) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.root.join(folder), MAX_DEPTH, &mut |path| {
            if path.to_string_lossy().ends_with(suffix) {
                found.push(path.to_owned());
            }
            found.len() < limit
        });
        found.sort();
        found
    }
}

/// See [`Source::text`].
pub(crate) fn read_text(path: &Path, max_bytes: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > max_bytes {
        return None;
    }
    let mut bytes = Vec::new();
    file.by_ref().take(max_bytes).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Calls `visit` with each plain file until it answers false, at most `depth` folders deep.
pub(crate) fn walk(folder: &Path, depth: usize, visit: &mut dyn FnMut(&Path) -> bool) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return true;
    };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let path = entry.path();
        let go_on = match (kind.is_dir(), kind.is_file()) {
            (true, _) if depth > 0 && !hidden => walk(&path, depth - 1, visit),
            (_, true) => visit(&path),
            _ => true,
        };
        if !go_on {
            return false;
        }
    }
    true
}
