//! Mounts: cloned, changed and attached by descriptor, so that no path is looked up twice.

use std::ffi::{c_int, c_uint, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::{c_path, c_string, check, check_int};

pub(crate) const MOUNT_RDONLY: u64 = 0x1;
pub(crate) const MOUNT_NOSUID: u64 = 0x2;
pub(crate) const MOUNT_NODEV: u64 = 0x4;
pub(crate) const MOUNT_NOEXEC: u64 = 0x8;

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

pub(crate) fn mount(
    source: &str,
    target: &Path,
    kind: &str,
    flags: c_ulong,
    data: &str,
) -> io::Result<()> {
    let (source, target, kind, data) = (
        c_string(source)?,
        c_path(target)?,
        c_string(kind)?,
        c_string(data)?,
    );
    // SAFETY: all strings are NUL-terminated and outlive the call.
    check_int(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    })
    .map(drop)
}

/// A detached copy of what is mounted at `source`, with everything below it if `recursive`.
pub(crate) fn clone_mount(source: &Path, recursive: bool) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: c_uint = 1;
    let source = c_path(source)?;
    let below = if recursive {
        libc::AT_RECURSIVE as c_uint
    } else {
        0
    };
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as c_uint | below;
    // SAFETY: the string is NUL-terminated and outlives the call.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, source.as_ptr(), flags)
    })?;
    // SAFETY: a fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Adds attributes to the mount that `mount` refers to.
pub(crate) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    attributes: u64,
    recursive: bool,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let below = if recursive { libc::AT_RECURSIVE } else { 0 };
    set_attributes(mount, &attr, libc::AT_EMPTY_PATH | below)
}

fn set_attributes(mount: BorrowedFd<'_>, attr: &MountAttr, flags: c_int) -> io::Result<()> {
    let (number, size) = (libc::SYS_mount_setattr, size_of::<MountAttr>());
    // SAFETY: pointers to a static string and to a struct of the given size that outlives the call.
    check(unsafe {
        libc::syscall(
            number,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size,
        )
    })
    .map(drop)
}

/// Makes a detached mount show the users of the namespace `users` as those that they are outside of it.
pub(crate) fn map_mount(mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.as_raw_fd() as u64,
    };
    set_attributes(mount, &attr, libc::AT_EMPTY_PATH)
}

/// Attaches a detached mount on top of the file or folder that `target` refers to.
pub(crate) fn attach_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    const FROM_EMPTY_PATH: c_uint = 0x4;
    const TO_EMPTY_PATH: c_uint = 0x40;
    let (from, to, empty) = (mount.as_raw_fd(), target.as_raw_fd(), c"".as_ptr());
    // SAFETY: static strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from,
            empty,
            to,
            empty,
            FROM_EMPTY_PATH | TO_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Opens `path` below `root` as the container will see it: links are followed, but nothing leads out of `root`.
pub(crate) fn open_inside(root: BorrowedFd<'_>, path: &Path, flags: c_int) -> io::Result<OwnedFd> {
    let relative = c_path(path.strip_prefix("/").unwrap_or(path))?;
    let relative = if relative.is_empty() {
        c".".to_owned()
    } else {
        relative
    };
    // SAFETY: all-zero is a valid `open_how`.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = if flags & libc::O_CREAT == 0 { 0 } else { 0o644 };
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    let (number, size) = (libc::SYS_openat2, size_of::<libc::open_how>());
    // SAFETY: the string and `how` outlive the call.
    let fd = check(unsafe {
        libc::syscall(
            number,
            root.as_raw_fd(),
            relative.as_ptr(),
            &raw const how,
            size,
        )
    })?;
    // SAFETY: a fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

pub(crate) fn mkdir_at(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: the string outlives the call.
    check_int(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), 0o755) }).map(drop)
}

/// Makes the current folder the root and detaches the old one.
pub(crate) fn pivot_here() -> io::Result<()> {
    let here = c".".as_ptr();
    // SAFETY: static strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, here, here) })?;
    // SAFETY: as above. The old root lies on top of the new one now.
    check_int(unsafe { libc::umount2(here, libc::MNT_DETACH) }).map(drop)
}

pub(crate) fn change_dir(dir: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an open descriptor.
    check_int(unsafe { libc::fchdir(dir.as_raw_fd()) }).map(drop)
}
