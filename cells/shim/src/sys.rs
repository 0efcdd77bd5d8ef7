//! The kernel calls that the standard library does not have, each as a safe function with `io::Result`.
//!
//! This is the only module of the shim with unsafe code. What makes it sound throughout: the process has one thread, and
//! all pointers handed to the kernel are to live locals.
#![allow(
    unsafe_code,
    reason = "thin wrappers around system calls, each with its own SAFETY note"
)]

use std::ffi::{CStr, CString, c_int, c_long, c_uint, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

mod links;
mod mounts;

pub(crate) use links::Links;
pub(crate) use mounts::*;

/// Which side of [`detach`] the caller is.
pub(crate) enum Detached {
    /// The process that was started, free to exit.
    Starter,
    /// A grandchild in a session of its own, whose parent is the reaper of the host.
    Daemon,
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_int(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

pub(crate) fn c_string(bytes: impl Into<Vec<u8>>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "a NUL byte in a string for the kernel",
        )
    })
}

fn c_path(path: &Path) -> io::Result<CString> {
    c_string(path.as_os_str().as_bytes())
}

/// Closes what the starter left open by mistake: a shim lives on for months, and with it a port or a lock would.
pub(crate) fn close_inherited() {
    // SAFETY: called before this process owns any descriptor above the standard ones.
    unsafe { libc::syscall(libc::SYS_close_range, 3, c_uint::MAX, 0) };
}

pub(crate) fn set_umask(mask: libc::mode_t) {
    // SAFETY: plain integer, cannot fail.
    unsafe { libc::umask(mask) };
}

/// Forks twice and becomes a session leader in between, so that no parent waits and no terminal reaches the shim.
pub(crate) fn detach() -> io::Result<Detached> {
    if fork()? != 0 {
        return Ok(Detached::Starter);
    }
    // SAFETY: no arguments; a fresh child is never a group leader, so it cannot fail in a way that matters.
    check_int(unsafe { libc::setsid() })?;
    if fork()? != 0 {
        exit_now(0);
    }
    Ok(Detached::Daemon)
}

/// 0 in the child.
pub(crate) fn fork() -> io::Result<i32> {
    // SAFETY: the process has one thread, so the child may run any code.
    check_int(unsafe { libc::fork() })
}

/// Forks into new namespaces. Returns the child's pid and pidfd, or `None` in the child.
pub(crate) fn clone_into(namespaces: c_int) -> io::Result<Option<(i32, OwnedFd)>> {
    let mut pidfd: c_int = -1;
    // SAFETY: all-zero is a valid `clone_args`; zero means "not used" for each field.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = u64::from(namespaces as u32) | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: `args` and `pidfd` outlive the call. Without CLONE_VM the child has its own copy of all memory, and with one
    // thread there is no lock another thread could have held.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            size_of::<libc::clone_args>(),
        )
    })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: CLONE_PIDFD stored a fresh descriptor that nobody else owns.
    Ok(Some((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })))
}

pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: a fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

pub(crate) fn pidfd_kill(pidfd: BorrowedFd<'_>, signal: c_int) -> io::Result<()> {
    let none: *const c_void = ptr::null();
    // SAFETY: a null siginfo is allowed.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            none,
            0,
        )
    })
    .map(drop)
}

pub(crate) fn kill(pid: i32, signal: c_int) -> io::Result<()> {
    // SAFETY: plain integers.
    check_int(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Waits for a child of this process to end.
pub(crate) fn wait_for(pid: i32) -> io::Result<()> {
    loop {
        // SAFETY: a null status is allowed.
        match check_int(unsafe { libc::waitpid(pid, ptr::null_mut(), 0) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            waited => return waited.map(drop),
        }
    }
}

/// Ends the process without running destructors or exit handlers, as a forked child must.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(status) }
}

pub(crate) fn new_session() -> io::Result<()> {
    // SAFETY: no arguments.
    check_int(unsafe { libc::setsid() }).map(drop)
}

pub(crate) fn unshare(flags: c_int) -> io::Result<()> {
    // SAFETY: plain integers.
    check_int(unsafe { libc::unshare(flags) }).map(drop)
}

/// Enters the user namespace that `fd` refers to, with all capabilities in it and none outside.
pub(crate) fn enter_user_namespace(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain integers on an open descriptor.
    check_int(unsafe { libc::setns(fd.as_raw_fd(), libc::CLONE_NEWUSER) }).map(drop)
}

/// Becomes a user without rights that may make namespaces nevertheless, so that they belong to that user.
pub(crate) fn lend_rights_to(user: u32) -> io::Result<()> {
    const NO_SETUID_FIXUP: c_ulong = 1 << 2;
    prctl(libc::PR_SET_SECUREBITS, NO_SETUID_FIXUP)?;
    drop_groups_and_user(user, user)
}

/// A pipe whose ends close on exec: (read, write).
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: `fds` has room for two.
    check_int(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: two fresh descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain integers on an open descriptor.
    let flags = check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: as above.
    check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })
        .map(drop)
}

/// Makes `fd` the descriptor `number`, open across exec.
pub(crate) fn dup_onto(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: plain integers; `number` is one of the standard streams, which nothing owns.
    check_int(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Takes ownership of what the starter passed as a standard stream, leaving `/dev/null` there.
pub(crate) fn take_standard(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    let fd = check_int(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: a fresh descriptor.
    let taken = unsafe { OwnedFd::from_raw_fd(fd) };
    use std::os::fd::AsFd;
    dup_onto(
        std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")?
            .as_fd(),
        number,
    )?;
    Ok(taken)
}

/// The file system that holds `fd`.
pub(crate) fn file_system(fd: BorrowedFd<'_>) -> io::Result<libc::statvfs> {
    // SAFETY: all-zero is a valid value of that plain C struct.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor and a live local.
    check_int(unsafe { libc::fstatvfs(fd.as_raw_fd(), &raw mut found) })?;
    Ok(found)
}

/// Makes this process give way to others.
pub(crate) fn give_way(nice: c_int) -> io::Result<()> {
    // SAFETY: plain integers.
    check_int(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)
}

pub(crate) fn close_on_exec_from(first: c_uint) -> io::Result<()> {
    // SAFETY: plain integers; marks descriptors, closes none.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
    .map(drop)
}

/// Closes every descriptor above 2 but those in `keep`, whose owners in this process stay the callers.
///
/// Only for a forked child that never returns to the code which owns the others.
pub(crate) fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<_> = keep.iter().copied().map(RawFd::cast_unsigned).collect();
    keep.sort_unstable();
    let mut first: c_uint = 3;
    let mut close = |last: c_uint, next: c_uint| {
        if first <= last {
            // SAFETY: the owners of these descriptors are never dropped in this process.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
        first = next;
    };
    for fd in keep {
        close(fd.saturating_sub(1), fd + 1);
    }
    close(c_uint::MAX, c_uint::MAX);
}

pub(crate) fn chown_fd(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: plain integers on an open descriptor.
    check_int(unsafe { libc::fchown(fd.as_raw_fd(), uid, gid) }).map(drop)
}

/// Gives a file this much room at its start, on disk and not only as a promise.
pub(crate) fn allocate(fd: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    // SAFETY: plain integers on an open descriptor.
    check_int(unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, bytes.into()) }).map(drop)
}

/// Waits for events on `fds`; `None` as timeout waits without end. Interrupted waits count as no events.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout_ms: Option<i32>) -> io::Result<()> {
    // SAFETY: pointer and length of one slice.
    let ready = unsafe {
        libc::poll(
            fds.as_mut_ptr(),
            fds.len() as libc::nfds_t,
            timeout_ms.unwrap_or(-1),
        )
    };
    match check_int(ready) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            fds.iter_mut().for_each(|fd| fd.revents = 0);
            Ok(())
        }
        other => other.map(drop),
    }
}

pub(crate) fn poll_in(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// An ended child: its pid, its status as a shell shows it, and its peak resident memory in bytes.
pub(crate) struct Ended {
    pub(crate) pid: i32,
    pub(crate) status: i32,
    pub(crate) peak_bytes: u64,
}

/// Collects one ended child without waiting; `None` where none has ended (or there is none).
pub(crate) fn reap() -> Option<Ended> {
    let mut status: c_int = 0;
    // SAFETY: all-zero is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both out-pointers are to live locals.
    let pid = unsafe {
        libc::wait4(
            -1,
            &raw mut status,
            libc::WNOHANG | libc::__WALL,
            &raw mut usage,
        )
    };
    let peak_bytes = u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024;
    (pid > 0).then(|| Ended {
        pid,
        status: shell_status(status),
        peak_bytes,
    })
}

const fn shell_status(status: c_int) -> i32 {
    if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    }
}

fn all_signals() -> libc::sigset_t {
    // SAFETY: `sigfillset` initialises the set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        set
    }
}

/// Blocks every signal that can be blocked and returns a descriptor from which they are read.
pub(crate) fn signals_as_fd() -> io::Result<OwnedFd> {
    let set = all_signals();
    // SAFETY: `set` is initialised; the old mask is not asked for.
    check_int(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) })?;
    // SAFETY: as above.
    let fd = check_int(unsafe {
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    })?;
    // SAFETY: a fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of one pending signal of [`signals_as_fd`], or `None`.
pub(crate) fn next_signal(fd: BorrowedFd<'_>) -> Option<c_int> {
    // SAFETY: all-zero is a valid `signalfd_siginfo`.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is `size` bytes long.
    let read = unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size) };
    (read == size as isize).then_some(info.ssi_signo as c_int)
}

/// Gives every signal its default action and unblocks all, as a fresh program expects them.
pub(crate) fn reset_signals() -> io::Result<()> {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid handler; the kernel refuses the signals that cannot be changed, which is fine.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an empty set is initialised by `sigemptyset`.
    check_int(unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut())
    })
    .map(drop)
}

/// `prctl` with integer arguments.
pub(crate) fn prctl(option: c_int, argument: c_ulong) -> io::Result<()> {
    let zero: c_ulong = 0;
    // SAFETY: only options whose arguments are integers are used.
    check_int(unsafe { libc::prctl(option, argument, zero, zero, zero) }).map(drop)
}

pub(crate) fn drop_groups_and_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: an empty list of groups.
    check_int(unsafe { libc::setgroups(0, ptr::null()) })?;
    // SAFETY: plain integers.
    check_int(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: plain integers.
    check_int(unsafe { libc::setresuid(uid, uid, uid) }).map(drop)
}

/// Clears the permitted, effective and inheritable capability sets.
pub(crate) fn clear_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let none = [0u32; 6];
    // SAFETY: version 3 reads two triples of u32 from the data pointer.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) }).map(drop)
}

/// Installs a seccomp program given as raw `struct sock_filter`s of eight bytes each.
pub(crate) fn install_seccomp(program: &[u8]) -> io::Result<()> {
    let filters: Vec<libc::sock_filter> = program
        .chunks_exact(8)
        .map(|raw| libc::sock_filter {
            code: u16::from_ne_bytes([raw[0], raw[1]]),
            jt: raw[2],
            jf: raw[3],
            k: u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
        })
        .collect();
    let len = u16::try_from(filters.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "filter too long"))?;
    let program = libc::sock_fprog {
        len,
        filter: filters.as_ptr().cast_mut(),
    };
    let mode = c_ulong::from(libc::SECCOMP_SET_MODE_FILTER);
    // SAFETY: `program` and the filters it points to outlive the call; the kernel only reads them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program) }).map(drop)
}

const fn rlimit_resource(kind: crate::config::RlimitKind) -> libc::__rlimit_resource_t {
    use crate::config::RlimitKind as K;
    match kind {
        K::OpenFiles => libc::RLIMIT_NOFILE,
        K::Processes => libc::RLIMIT_NPROC,
        K::FileSize => libc::RLIMIT_FSIZE,
        K::Core => libc::RLIMIT_CORE,
    }
}

/// Sets a limit, clamped to the hard limit that was inherited.
pub(crate) fn set_rlimit(limit: &crate::config::Rlimit) -> io::Result<()> {
    let resource = rlimit_resource(limit.kind);
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: out-pointer to a live local.
    check_int(unsafe { libc::getrlimit(resource, &raw mut now) })?;
    let hard = limit.hard.min(now.rlim_max);
    let wanted = libc::rlimit {
        rlim_cur: limit.soft.min(hard),
        rlim_max: hard,
    };
    // SAFETY: pointer to a live local.
    check_int(unsafe { libc::setrlimit(resource, &raw const wanted) }).map(drop)
}

pub(crate) fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length of one string.
    check_int(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Replaces the process. Returns only on failure.
pub(crate) fn exec(program: &CStr, args: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end with null and point to strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}
