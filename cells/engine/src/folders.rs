//! Folders that foreign code has filled: measured and removed, however deep and however many.
//!
//! A process may nest folders by the hundred thousand, far beyond what a path can name. Whoever follows them by recursion
//! runs out of stack, by whole paths misses what lies below, and by open folders runs out of descriptors.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longer paths are not used: the kernel takes 4,096 bytes, and looks up every part of one each time.
const MAX_PATH_BYTES: usize = 512;
/// What a file or folder takes at least. An empty one takes an inode, of which a file system has about one for each so many
/// bytes; so a limit of bytes is a limit of inodes too.
const LEAST_BYTES: u64 = 4096;

/// Bytes on disk of all below `folder`, while whoever fills it goes on; what vanishes is not counted. Symbolic links are not
/// followed, also those that take a folder's place between two looks. Blocks.
#[must_use]
pub fn disk_usage(folder: &Path) -> u64 {
    let mut total = 0;
    let top = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(folder);
    let mut pending: Vec<Place> = top
        .into_iter()
        .map(|top| Place {
            anchor: Arc::new(top),
            path: PathBuf::new(),
        })
        .collect();
    while let Some(place) = pending.pop() {
        let Ok(opened) = place.open() else {
            continue;
        };
        let Ok(entries) = fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd())) else {
            continue;
        };
        let place = place.shortened(opened);
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else {
                continue;
            };
            total += (found.blocks() * 512).max(LEAST_BYTES);
            if found.is_dir() {
                pending.push(Place {
                    anchor: place.anchor.clone(),
                    path: place.path.join(entry.file_name()),
                });
            }
        }
    }
    total
}

/// A folder to look into.
struct Place {
    /// The folder at which `path` begins.
    anchor: Arc<File>,
    path: PathBuf,
}

impl Place {
    #[allow(
        unsafe_code,
        reason = "the standard library opens no path without following links"
    )]
    fn open(&self) -> io::Result<File> {
        let path = if self.path.as_os_str().is_empty() {
            c".".to_owned()
        } else {
            CString::new(self.path.as_os_str().as_bytes())?
        };
        // SAFETY: all-zero is a valid `open_how`.
        let mut how: libc::open_how = unsafe { std::mem::zeroed() };
        how.flags = (libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64;
        how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
        // SAFETY: the string and `how`, of the given size, outlive the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                self.anchor.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0);
        let fd = fd.ok_or_else(io::Error::last_os_error)?;
        // SAFETY: a fresh descriptor.
        Ok(unsafe { File::from_raw_fd(fd) })
    }

    /// The same place, which is `opened`, under a path that is not too long.
    fn shortened(self, opened: File) -> Self {
        if self.path.as_os_str().len() <= MAX_PATH_BYTES {
            return self;
        }
        Self {
            anchor: Arc::new(opened),
            path: PathBuf::new(),
        }
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
        let mut here = File::open(folder).expect("folder");
        let path = |here: &File| PathBuf::from(format!("/proc/self/fd/{}", here.as_raw_fd()));
        for _ in 0..depth {
            let next = path(&here).join("d");
            fs::create_dir(&next).expect("folder");
            here = File::open(next).expect("is there");
        }
        fs::write(path(&here).join("deepest"), vec![1; 100_000]).expect("file");
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
    fn a_folder_that_becomes_a_link_between_two_looks_is_not_followed() {
        let top = tempfile::tempdir().expect("temp dir");
        let outside = top.path().join("outside/a/b");
        fs::create_dir_all(&outside).expect("folder");
        fs::write(outside.join("large"), vec![1; 1 << 20]).expect("file");
        let inside = top.path().join("inside");
        fs::create_dir(&inside).expect("folder");
        let anchor = Arc::new(File::open(&inside).expect("folder"));
        symlink(top.path().join("outside"), inside.join("link")).expect("link");
        for path in ["link", "link/a/b", "..", "../outside"] {
            let place = Place {
                anchor: anchor.clone(),
                path: path.into(),
            };
            assert!(place.open().is_err(), "{path}");
        }
        assert!(disk_usage(&inside) < 1 << 20);
        symlink(&inside, top.path().join("itself")).expect("link");
        assert_eq!(disk_usage(&top.path().join("itself")), 0);
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
