//! Where a target may write: a folder with an empty one inside, and the proof that only that one was touched.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder of its own for one run of a target.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
}

/// Stands beside the folder that is written to. A name that leads out by one step would hit it or appear beside it.
const SENTINEL: &str = "sentinel";

impl Place {
    /// # Panics
    /// The folder for temporary files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary files can be made");
        fs::create_dir(folder.path().join("inside")).expect("just made");
        fs::write(folder.path().join(SENTINEL), SENTINEL).expect("just made");
        Self { folder }
    }

    /// A file with this content, beside the folder.
    ///
    /// # Panics
    /// As [`Place::new`].
    #[must_use]
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("the folder is ours");
        path
    }

    /// The empty folder.
    #[must_use]
    pub fn inside(&self) -> PathBuf {
        self.folder.path().join("inside")
    }

    /// # Panics
    /// Something beside the folder and `expected` is there or was changed, or a link inside leads out.
    pub fn check(self, expected: &[&str]) {
        let mut names = fs::read_dir(self.folder.path())
            .expect("the folder is ours")
            .map(|entry| {
                entry
                    .expect("listed")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .filter(|name| !expected.contains(&name.as_str()))
            .collect::<Vec<_>>();
        names.sort();
        assert_eq!(names, ["inside", SENTINEL], "something was made outside");
        let sentinel = fs::read_to_string(self.folder.path().join(SENTINEL));
        assert_eq!(
            sentinel.expect("it is there"),
            SENTINEL,
            "it was written outside"
        );
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// # Panics
/// A link below `root` leads to a file outside, or is absolute.
pub fn check_links(root: &Path) {
    let root = root.canonicalize().expect("the folder is ours");
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("readable").flatten() {
            let kind = entry.file_type().expect("known");
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_symlink() {
                let target = fs::read_link(entry.path()).expect("a link");
                let end = entry.path().canonicalize();
                assert!(
                    target.is_relative() && end.map_or(true, |end| end.starts_with(&root)),
                    "{} leads to {}",
                    entry.path().display(),
                    target.display()
                );
            }
        }
    }
}
