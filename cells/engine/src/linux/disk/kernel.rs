//! The kernel calls for disks that the standard library does not have, each as a safe function with `io::Result`.
#![allow(
    unsafe_code,
    reason = "thin wrappers around system calls, each with its own SAFETY note"
)]

use std::ffi::{CStr, CString, c_int, c_long, c_uint};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;

/// Somebody else may take the free device that was found.
const TRIES: usize = 64;

const LO_FLAGS_READ_ONLY: u32 = 1;
/// The device lets go of its file when nobody uses it any more.
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;

/// `struct loop_config` of `linux/loop.h`, with `struct loop_info64` inside.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

fn check(result: c_long) -> io::Result<RawFd> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        RawFd::try_from(result).map_err(io::Error::other)
    }
}

/// Makes a loop device of a file. It is gone when it is neither open nor mounted.
pub(super) fn attach(file: &File, read_only: bool) -> io::Result<(String, File)> {
    let control = File::options()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    // SAFETY: all-zero is a valid value of a struct of integers.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = file.as_raw_fd().cast_unsigned();
    config.flags = LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 };
    let mut last = io::Error::other("no loop device is free");
    for _ in 0..TRIES {
        // SAFETY: takes no argument.
        let number = check(c_long::from(unsafe {
            libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE)
        }))?;
        let name = format!("/dev/loop{number}");
        let device = File::options()
            .read(true)
            .write(!read_only)
            .custom_flags(libc::O_CLOEXEC)
            .open(&name)?;
        // SAFETY: a live struct of the kernel's layout.
        let configured =
            unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
        match check(c_long::from(configured)) {
            Ok(_) => return Ok((name, device)),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Whether a loop device has this file. The kernel forgets the name of a file that was removed.
pub(super) fn is_attached(file: &Path) -> io::Result<bool> {
    let file = match std::fs::canonicalize(file) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in std::fs::read_dir("/sys/block")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("loop")
            && let Ok(name) = std::fs::read_to_string(entry.path().join("loop/backing_file"))
            && Path::new(name.trim_end_matches('\n')) == file
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Mounts the ext4 of a block device in no place.
pub(super) fn mount_ext4(device: &str, read_only: bool) -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: c_uint = 1;
    const FSMOUNT_CLOEXEC: c_uint = 1;
    const SET_FLAG: c_uint = 0;
    const SET_STRING: c_uint = 1;
    const CREATE: c_uint = 6;
    const MOUNT_RDONLY: c_uint = 0x1;
    const MOUNT_NOSUID: c_uint = 0x2;
    const MOUNT_NODEV: c_uint = 0x4;
    const MOUNT_NOATIME: c_uint = 0x10;
    // SAFETY: a static string and a plain integer.
    let context =
        check(unsafe { libc::syscall(libc::SYS_fsopen, c"ext4".as_ptr(), FSOPEN_CLOEXEC) })?;
    // SAFETY: a fresh descriptor.
    let context = unsafe { OwnedFd::from_raw_fd(context) };
    let set = |command: c_uint, key: Option<&CStr>, value: Option<&CStr>| {
        let text = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
        let none: c_int = 0;
        // SAFETY: both strings are NUL-terminated and outlive the call; null where the command takes none.
        check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                command,
                text(key),
                text(value),
                none,
            )
        })
        .map(drop)
    };
    let device = CString::new(device)?;
    set(SET_STRING, Some(c"source"), Some(&device))?;
    // Its contents are not kept over a crash of the host, so the host's disk need not be waited for.
    set(SET_FLAG, Some(c"nobarrier"), None)?;
    set(SET_FLAG, Some(c"noinit_itable"), None)?;
    if read_only {
        set(SET_FLAG, Some(c"ro"), None)?;
    }
    set(CREATE, None, None)?;
    let mut attributes = MOUNT_NOSUID | MOUNT_NODEV | MOUNT_NOATIME;
    if read_only {
        attributes |= MOUNT_RDONLY;
    }
    // SAFETY: plain integers on an open descriptor.
    let mount = check(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            attributes,
        )
    })?;
    // SAFETY: a fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(mount) })
}

/// The parts of a sparse file that hold data.
pub(super) fn data_of(file: &File) -> io::Result<Vec<Range<u64>>> {
    let seek = |from: u64, whence: c_int| -> io::Result<Option<u64>> {
        let from = libc::off_t::try_from(from).map_err(io::Error::other)?;
        // SAFETY: plain integers on an open descriptor.
        let found = unsafe { libc::lseek(file.as_raw_fd(), from, whence) };
        match u64::try_from(found) {
            Ok(found) => Ok(Some(found)),
            Err(_) => match io::Error::last_os_error() {
                // Nothing but a hole is left.
                error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
                error => Err(error),
            },
        }
    };
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(start) = seek(at, libc::SEEK_DATA)? {
        let Some(end) = seek(start, libc::SEEK_HOLE)? else {
            break;
        };
        ranges.push(start..end);
        at = end;
    }
    Ok(ranges)
}
