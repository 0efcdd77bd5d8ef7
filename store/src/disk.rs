//! The disk that the data folder lies on.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// How full a file system is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub size: u64,
    /// What is left for users without rights; what is set aside for root is not counted.
    pub free: u64,
}

impl Disk {
    /// Looks at the file system of `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        let found = statvfs(&path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self {
            size: bytes(found.f_blocks),
            free: bytes(found.f_bavail),
        })
    }
}

#[allow(unsafe_code, reason = "std does not tell how full a file system is")]
fn statvfs(path: &CString) -> io::Result<libc::statvfs> {
    let mut found = std::mem::MaybeUninit::uninit();
    // SAFETY: the path ends with a zero byte, and statvfs fills the struct whenever it returns 0.
    unsafe {
        if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) == 0 {
            Ok(found.assume_init())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// Brings a folder's entries to the disk: a new name is only then safe from a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Puts a small file in place as a whole, readable by its owner only. A power cut leaves the old one or the new one.
pub fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_a_size_and_something_free_of_it() {
        let disk = Disk::of(Path::new(".")).expect("looks");
        assert!(disk.size > 0 && disk.free <= disk.size, "{disk:?}");
    }

    #[test]
    fn secrets_are_replaced_as_a_whole_and_nobody_else_may_read_them() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(folder.path().join("key.new"), "half of an earlier").expect("writes");
        for content in ["one", "two"] {
            write_secret(&path, content.as_bytes()).expect("writes");
            assert_eq!(std::fs::read_to_string(&path).expect("reads"), content);
        }
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).expect("reads").count(), 1);
    }
}
