//! Folders that foreign code has filled: measured and removed, however deep and however many.
//!
//! A process may nest folders by the hundred thousand, far beyond what a path can name. Whoever follows them by recursion
//! runs out of stack, by whole paths misses what lies below, and by open folders runs out of descriptors.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longer paths are not used: the kernel takes 4,096 bytes, and looks up every part of one each time.
const MAX_PATH_BYTES: usize = 512;
/// What a file or folder takes at least. An empty one takes an inode, of which a file system has about one for each so many
/// bytes; so a limit of bytes is a limit of inodes too.
const LEAST_BYTES: u64 = 4096;

/// Bytes on disk of all below `folder`, which is followed even if it changes meanwhile; what vanishes is not counted.
/// Symbolic links are not followed. Blocks.
#[must_use]
pub fn disk_usage(folder: &Path) -> u64 {
    let mut total = 0;
    let mut pending = vec![Place {
        anchor: None,
        path: folder.to_owned(),
    }];
    while let Some(place) = pending.pop() {
        let Ok(place) = place.shortened() else {
            continue;
        };
        let Ok(entries) = fs::read_dir(&place.path) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else {
                continue;
            };
            total += (found.blocks() * 512).max(LEAST_BYTES);
            if found.is_dir() {
                pending.push(Place {
                    anchor: place.anchor.clone(),
                    path: entry.path(),
                });
            }
        }
    }
    total
}

/// A folder to look into.
struct Place {
    /// Keeps the folder open at which `path` begins.
    anchor: Option<Arc<File>>,
    path: PathBuf,
}

impl Place {
    /// The same place under a name that is not too long.
    fn shortened(self) -> io::Result<Self> {
        if self.path.as_os_str().len() <= MAX_PATH_BYTES {
            return Ok(self);
        }
        let folder = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(&self.path)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        Ok(Self {
            anchor: Some(Arc::new(folder)),
            path,
        })
    }
}

/// Removes `folder` with all below it; what is not there is fine. Whoever filled it must have ended. Blocks.
///
/// Every folder below moves up to the top before it is emptied, so no path grows and nothing stays open.
///
/// # Errors
/// Of the first file or folder that could not be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    let mut hoisted = Hoisted { next: 0 };
    let mut pending = Vec::new();
    for entry in open(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            pending.push(entry.path());
        } else {
            gone(fs::remove_file(entry.path()))?;
        }
    }
    while let Some(here) = pending.pop() {
        for entry in open(&here)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                gone(fs::remove_file(entry.path()))?;
            } else if fs::remove_dir(entry.path()).is_err() {
                pending.extend(hoisted.lift(&entry.path(), folder)?);
            }
        }
        gone(fs::remove_dir(&here))?;
    }
    gone(fs::remove_dir(folder))
}

/// The entries of a folder, made usable for its owner; none where it is gone.
fn open(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    // Where that fails, so will what needs it, with the better error.
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// Names for folders that move up.
struct Hoisted {
    next: u64,
}

impl Hoisted {
    /// Moves a folder into `top`; none where it is gone.
    fn lift(&mut self, folder: &Path, top: &Path) -> io::Result<Option<PathBuf>> {
        use io::ErrorKind as K;
        // A folder can only move where its owner may write to it.
        let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
        loop {
            let target = top.join(format!(".removed-{}", self.next));
            self.next += 1;
            match fs::rename(folder, &target) {
                Ok(()) => return Ok(Some(target)),
                Err(error) if error.kind() == K::NotFound => return Ok(None),
                // The name is taken; there are only so many such.
                Err(error)
                    if matches!(
                        error.kind(),
                        K::AlreadyExists | K::DirectoryNotEmpty | K::NotADirectory
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Nests folders as a process does that goes down step by step.
    fn nest(folder: &Path, depth: usize) {
        let mut here = Place {
            anchor: None,
            path: folder.to_owned(),
        };
        for _ in 0..depth {
            here.path.push("d");
            fs::create_dir(&here.path).expect("folder");
            here = here.shortened().expect("is there");
        }
        fs::write(here.path.join("deepest"), vec![1; 100_000]).expect("file");
    }

    #[test]
    fn folders_deeper_than_any_path_are_measured_and_removed() {
        const DEPTH: usize = 5_000;
        let top = tempfile::tempdir().expect("temp dir");
        let folder = top.path().join("scratch");
        fs::create_dir(&folder).expect("folder");
        nest(&folder, DEPTH);
        assert!(disk_usage(&folder) >= DEPTH as u64 * LEAST_BYTES + 100_000);
        remove(&folder).expect("is removed");
        assert!(!folder.exists());
    }

    #[test]
    fn what_is_closed_named_alike_or_a_link_is_removed_and_nothing_else() {
        let top = tempfile::tempdir().expect("temp dir");
        let (folder, outside) = (top.path().join("folder"), top.path().join("outside"));
        for path in [
            "a/b/c",
            "a/closed/d",
            ".removed-0/x/y",
            ".removed-1",
            ".removed-3/z/z",
        ] {
            fs::create_dir_all(folder.join(path)).expect("folder");
        }
        fs::write(folder.join(".removed-2"), "").expect("file");
        fs::create_dir(&outside).expect("folder");
        fs::write(outside.join("kept"), "").expect("file");
        symlink(&outside, folder.join("a/b/c/link")).expect("link");
        fs::set_permissions(folder.join("a/closed"), Permissions::from_mode(0o000)).expect("mode");
        remove(&folder).expect("is removed");
        assert!(!folder.exists() && outside.join("kept").exists());
        remove(&folder).expect("what is not there is fine");
    }

    #[test]
    fn empty_files_take_room_too() {
        let folder = tempfile::tempdir().expect("temp dir");
        for number in 0..100 {
            fs::write(folder.path().join(number.to_string()), "").expect("file");
        }
        assert_eq!(disk_usage(folder.path()), 100 * LEAST_BYTES);
    }
}
