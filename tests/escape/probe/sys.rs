//! Raw kernel calls of the probe. It asks the kernel for things that no well-meant wrapper offers.
#![allow(
    unsafe_code,
    reason = "hostile code makes kernel calls directly; each takes integers or pointers to live locals"
)]

use std::io;
use std::os::fd::RawFd;

use libc::{c_int, c_long};

/// Any system call with plain integers, or addresses of what the caller keeps alive.
pub(crate) fn call(number: c_long, args: &[usize]) -> io::Result<usize> {
    let mut all = [0_usize; 6];
    all[..args.len()].copy_from_slice(args);
    // SAFETY: the callers' pointers are to live locals of the size that the call expects.
    let result = unsafe { libc::syscall(number, all[0], all[1], all[2], all[3], all[4], all[5]) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The address of a string or struct, as an argument of [`call`].
pub(crate) fn at<T: ?Sized>(value: &T) -> usize {
    std::ptr::from_ref(value).cast::<u8>() as usize
}

pub(crate) fn fork() -> io::Result<i32> {
    // SAFETY: the probe has one thread.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(pid)
    }
}

pub(crate) fn exit(status: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(status) }
}

/// The raw wait status of a child.
pub(crate) fn wait(pid: i32) -> io::Result<c_int> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a live local.
        let ended = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if ended >= 0 {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

pub(crate) fn kill(pid: i32, signal: c_int) -> io::Result<()> {
    // SAFETY: plain integers.
    if unsafe { libc::kill(pid, signal) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Makes the process die at this age, whatever it does.
pub(crate) fn die_after(seconds: u32) {
    // SAFETY: plain integer.
    unsafe { libc::alarm(seconds) };
}

pub(crate) fn ids() -> (u32, u32) {
    // SAFETY: no arguments.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

pub(crate) fn close(fd: RawFd) {
    // SAFETY: the callers own the descriptor.
    unsafe { libc::close(fd) };
}

pub(crate) fn pipe() -> io::Result<(RawFd, RawFd)> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_NONBLOCK) } < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok((fds[0], fds[1]))
    }
}

pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    call(libc::SYS_write, &[fd as usize, at(bytes), bytes.len()])
}

/// The system call `getpid` the way 32-bit programs make it, past a filter that only knows 64-bit calls.
#[cfg(target_arch = "x86_64")]
pub(crate) fn old_getpid() -> i64 {
    let result: i64;
    // SAFETY: number 20 takes no argument and touches no memory.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

/// Maps `bytes` of fresh memory and touches every page; the error where the kernel gives none.
pub(crate) fn touch_memory(bytes: usize, flags: c_int) -> io::Result<()> {
    // SAFETY: a fresh anonymous mapping.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    for offset in (0..bytes).step_by(4096) {
        // SAFETY: inside the mapping.
        unsafe { start.cast::<u8>().add(offset).write_volatile(1) };
    }
    Ok(())
}

/// Attaches a segment of shared memory that goes with its last user, and fills it.
pub(crate) fn touch_shared(bytes: usize) -> io::Result<()> {
    // SAFETY: plain integers.
    let id = unsafe { libc::shmget(libc::IPC_PRIVATE, bytes, libc::IPC_CREAT | 0o600) };
    if id < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: attaches where the kernel chooses; the segment is marked to go with this process.
    let start = unsafe {
        let start = libc::shmat(id, std::ptr::null(), 0);
        libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
        start
    };
    if start as isize == -1 {
        return Err(io::Error::last_os_error());
    }
    for offset in (0..bytes).step_by(4096) {
        // SAFETY: inside the segment.
        unsafe { start.cast::<u8>().add(offset).write_volatile(1) };
    }
    Ok(())
}

/// Sends `passed` over `socket` with one byte.
pub(crate) fn pass_descriptor(socket: RawFd, passed: RawFd) -> io::Result<()> {
    let mut byte = [0_u8; 1];
    let mut space = [0_u64; 4];
    // SAFETY: all-zero is a valid `msghdr`; the buffers outlive the call and have room for one descriptor.
    unsafe {
        let mut io = libc::iovec {
            iov_base: byte.as_mut_ptr().cast(),
            iov_len: 1,
        };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut io;
        message.msg_iovlen = 1;
        message.msg_control = space.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header)
            .cast::<c_int>()
            .write_unaligned(passed);
        if libc::sendmsg(socket, &raw const message, libc::MSG_DONTWAIT) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
