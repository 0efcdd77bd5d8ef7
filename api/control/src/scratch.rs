//! Files that are needed for as long as somebody works on them.

use std::path::{Path, PathBuf};

use uuid::Uuid;

/// A file that nobody needs once this is dropped. Whoever writes or reads it in another thread takes this along, so that it is
/// removed after the last of them, whoever gave up waiting meanwhile.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A name in `folder` that nobody else has; the file is the caller's to make.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(folder.join(Uuid::new_v4().to_string()))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whoever took the file over has moved it away.
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a scratch file was not removed"
                );
            }
            _ => {}
        }
    }
}
