//! Small files of the run folder. What starts and watches the platform must be able to write them when apps or anybody
//! else have filled the disk: a reserve is kept for that, and given up for them.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::paths::Paths;

/// Some blocks more than all files of a run folder together.
const RESERVE_BYTES: usize = 64 * 1024;

fn reserve_path(paths: &Paths) -> PathBuf {
    paths.run().join("reserve")
}

/// Takes the reserve, or as much of it as the disk has room for.
pub(crate) fn reserve(paths: &Paths) {
    let path = reserve_path(paths);
    let held = fs::metadata(&path).is_ok_and(|known| known.len() == RESERVE_BYTES as u64);
    if !held {
        // A part of it is worth having too.
        let _ = fs::write(&path, vec![0; RESERVE_BYTES]);
    }
}

/// What a file is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    UntilReboot,
    /// Half of it after a power cut would be met by the next start.
    ForEver,
}

/// Replaces a file of the run folder in one step, so that readers never meet half of it.
pub(crate) fn replace(paths: &Paths, path: &Path, bytes: &[u8], lasts: Lasts) -> io::Result<()> {
    let write = || -> io::Result<()> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let mut file = fs::File::create(&new)?;
        file.write_all(bytes)?;
        if lasts == Lasts::ForEver {
            file.sync_all()?;
        }
        fs::rename(new, path)?;
        if lasts == Lasts::ForEver {
            fs::File::open(paths.run())?.sync_all()?;
        }
        Ok(())
    };
    match write() {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            // Without a reserve the first error tells more.
            fs::remove_file(reserve_path(paths)).map_err(|_| error)?;
            let written = write();
            // What the file did not need is kept from whoever fills the disk.
            reserve(paths);
            written
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small file system of its own, in a mount namespace of this thread.
    #[allow(
        unsafe_code,
        reason = "the standard library has neither unshare nor mount"
    )]
    fn small_disk(at: &Path) {
        use std::ffi::CString;
        use std::os::unix::ffi::OsStrExt as _;
        let at = CString::new(at.as_os_str().as_bytes()).expect("a path");
        // SAFETY: unshare takes flags; mount takes C strings that live through the calls, and no data but the last.
        unsafe {
            assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "this needs root");
            let private = libc::MS_PRIVATE | libc::MS_REC;
            let none = std::ptr::null();
            assert_eq!(
                libc::mount(none, c"/".as_ptr(), none, private, none.cast()),
                0
            );
            let size = c"size=1m".as_ptr().cast();
            let tmpfs = c"tmpfs".as_ptr();
            assert_eq!(libc::mount(tmpfs, at.as_ptr(), tmpfs, 0, size), 0);
        }
    }

    #[test]
    fn on_a_full_disk_what_the_supervisor_needs_is_still_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let work = || {
            small_disk(folder.path());
            let paths = Paths::new(Some(folder.path().to_owned())).expect("paths");
            paths.create().expect("folders");
            reserve(&paths);
            let mut filler = fs::File::create(folder.path().join("filler")).expect("made");
            let mut fill = || {
                let full = filler.write_all(&vec![1; 2 * 1024 * 1024]);
                let error = full.expect_err("more than there is");
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            };
            fill();
            for round in 0..3 {
                for role in ["up", "server", "cell", "router"] {
                    let bytes = format!("{round}\n");
                    let path = paths.pid(role);
                    replace(&paths, &path, bytes.as_bytes(), Lasts::ForEver).expect("written");
                    assert_eq!(fs::read_to_string(path).expect("read"), bytes);
                    fill();
                }
            }
        };
        // The namespace ends with its thread.
        std::thread::scope(|scope| scope.spawn(work).join().expect("the disk of its own"));
    }
}
