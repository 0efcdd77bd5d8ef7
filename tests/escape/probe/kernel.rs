//! Calls for which no app has a use: mounts, namespaces, modules, clocks, tracing of the kernel.

use std::io;

use super::sys::{at, call};
use super::verdict::{Attempt, Contained, Escaped, Refused, Verdict, attempt, forbidden, text};

pub(crate) fn attempts() -> Vec<Attempt> {
    let mut all = mounts();
    all.extend(namespaces());
    all.extend(kernel());
    all
}

fn mounts() -> Vec<Attempt> {
    let mount = |source: &'static std::ffi::CStr,
                 target: &'static std::ffi::CStr,
                 kind: &'static std::ffi::CStr,
                 flags: u64| {
        forbidden(call(
            libc::SYS_mount,
            &[at(source), at(target), at(kind), flags as usize, 0],
        ))
    };
    vec![
        attempt("mount a tmpfs", move || {
            mount(c"none", c"/tmp", c"tmpfs", 0)
        }),
        attempt("mount proc again", move || {
            mount(c"proc", c"/tmp", c"proc", 0)
        }),
        attempt("mount the cgroup files writable", move || {
            mount(c"none", c"/tmp", c"cgroup", 0)
        }),
        attempt("mount the host's disk", move || {
            mount(c"/dev/vda", c"/tmp", c"ext4", 0)
        }),
        attempt("bind the root elsewhere", move || {
            mount(c"/", c"/tmp", c"", libc::MS_BIND | libc::MS_REC)
        }),
        attempt("remount the root writable", move || {
            mount(c"none", c"/", c"", libc::MS_REMOUNT | libc::MS_BIND)
        }),
        attempt("remount /usr writable", move || {
            mount(c"none", c"/usr/bin", c"", libc::MS_REMOUNT | libc::MS_BIND)
        }),
        attempt("remount /proc/sys writable", move || {
            mount(c"none", c"/proc/sys", c"", libc::MS_REMOUNT | libc::MS_BIND)
        }),
        attempt("make mounts shared", move || {
            mount(c"none", c"/", c"", libc::MS_SHARED | libc::MS_REC)
        }),
        attempt("unmount a mask of /proc", || {
            forbidden(call(
                libc::SYS_umount2,
                &[at(c"/proc/kcore"), libc::MNT_DETACH as usize],
            ))
        }),
        attempt("unmount /tmp", || {
            forbidden(call(
                libc::SYS_umount2,
                &[at(c"/tmp"), libc::MNT_DETACH as usize],
            ))
        }),
        attempt("pivot_root", || {
            forbidden(call(libc::SYS_pivot_root, &[at(c"/tmp"), at(c"/tmp")]))
        }),
        attempt("chroot", || {
            forbidden(call(libc::SYS_chroot, &[at(c"/tmp")]))
        }),
        attempt("open_tree", || {
            forbidden(call(
                libc::SYS_open_tree,
                &[libc::AT_FDCWD as usize, at(c"/"), 1],
            ))
        }),
        attempt("move_mount", || {
            forbidden(call(
                libc::SYS_move_mount,
                &[
                    libc::AT_FDCWD as usize,
                    at(c"/tmp"),
                    libc::AT_FDCWD as usize,
                    at(c"/home"),
                    0,
                ],
            ))
        }),
        attempt("mount_setattr", || {
            let clear_read_only = [0_u64, 1, 0, 0];
            forbidden(call(
                libc::SYS_mount_setattr,
                &[
                    libc::AT_FDCWD as usize,
                    at(c"/"),
                    0,
                    at(&clear_read_only),
                    32,
                ],
            ))
        }),
        attempt("fsopen", || {
            forbidden(call(libc::SYS_fsopen, &[at(c"tmpfs"), 0]))
        }),
        attempt("open a file by its handle on the disk", open_by_handle),
    ]
}

/// The way out of early Docker: guess the number of the root's inode.
fn open_by_handle() -> Verdict {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        inode: u64,
    }
    let handle = Handle {
        bytes: 8,
        kind: 1,
        inode: 2,
    };
    let Ok(folder) = std::fs::File::open("/home/vcap") else {
        return Escaped("not tried: no home".into());
    };
    use std::os::fd::AsRawFd as _;
    forbidden(call(
        libc::SYS_open_by_handle_at,
        &[
            folder.as_raw_fd() as usize,
            at(&handle),
            libc::O_RDONLY as usize,
        ],
    ))
}

const NAMESPACES: [(&str, i32); 8] = [
    ("user", libc::CLONE_NEWUSER),
    ("mount", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("network", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", 0x80),
];

fn namespaces() -> Vec<Attempt> {
    let mut all = Vec::new();
    for (name, flag) in NAMESPACES {
        all.push(attempt(format!("unshare a {name} namespace"), move || {
            forbidden(call(libc::SYS_unshare, &[flag as usize]))
        }));
        // To `clone` the bit of the time namespace is part of the exit signal.
        if name != "time" {
            all.push(attempt(
                format!("clone into a {name} namespace"),
                move || match call(
                    libc::SYS_clone,
                    &[(flag | libc::SIGCHLD) as usize, 0, 0, 0, 0],
                ) {
                    Ok(0) => super::sys::exit(0),
                    made => forbidden(made),
                },
            ));
        }
        let file = match name {
            "mount" => "mnt",
            "network" => "net",
            other => other,
        };
        all.push(attempt(
            format!("enter the init's {name} namespace"),
            move || {
                let found = std::fs::File::open(format!("/proc/1/ns/{file}"));
                use std::os::fd::AsRawFd as _;
                forbidden(
                    found.and_then(|file| call(libc::SYS_setns, &[file.as_raw_fd() as usize, 0])),
                )
            },
        ));
    }
    all.push(attempt("clone3 into a user namespace", || {
        let mut arguments = [0_u64; 8];
        arguments[0] = libc::CLONE_NEWUSER as u64;
        arguments[4] = libc::SIGCHLD as u64;
        match call(libc::SYS_clone3, &[at(&arguments), 64]) {
            Ok(0) => super::sys::exit(0),
            made => forbidden(made),
        }
    }));
    all.push(attempt("enter its own mount namespace anew", || {
        use std::os::fd::AsRawFd as _;
        let own = std::fs::File::open("/proc/self/ns/mnt");
        forbidden(own.and_then(|file| call(libc::SYS_setns, &[file.as_raw_fd() as usize, 0])))
    }));
    all
}

fn kernel() -> Vec<Attempt> {
    let simple = |name: &'static str, number: libc::c_long, args: &'static [usize]| {
        attempt(name, move || forbidden(call(number, args)))
    };
    let mut all = vec![
        simple("keyctl", libc::SYS_keyctl, &[0, usize::MAX - 3, 0]),
        attempt("add_key", || {
            forbidden(call(
                libc::SYS_add_key,
                &[at(c"user"), at(c"x"), at(c"y"), 1, usize::MAX - 3],
            ))
        }),
        attempt("request_key", || {
            forbidden(call(libc::SYS_request_key, &[at(c"user"), at(c"x"), 0, 0]))
        }),
        attempt("bpf", || {
            forbidden(call(libc::SYS_bpf, &[0, at(&[0_u64; 16]), 128]))
        }),
        attempt("perf_event_open", || {
            forbidden(call(
                libc::SYS_perf_event_open,
                &[
                    at(&[
                        1_u32, 112, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                        0, 0, 0, 0, 0,
                    ]),
                    0,
                    usize::MAX,
                    usize::MAX,
                    0,
                ],
            ))
        }),
        simple("userfaultfd", libc::SYS_userfaultfd, &[1]),
        attempt("io_uring_setup", || {
            forbidden(call(libc::SYS_io_uring_setup, &[8, at(&[0_u8; 120])]))
        }),
        simple("kexec_load", libc::SYS_kexec_load, &[0, 0, 0, 0]),
        attempt("init_module", || {
            forbidden(call(libc::SYS_init_module, &[at(&[0_u8; 8]), 8, at(c"")]))
        }),
        attempt("finit_module", || {
            forbidden(call(libc::SYS_finit_module, &[0, at(c""), 0]))
        }),
        attempt("delete_module", || {
            forbidden(call(
                libc::SYS_delete_module,
                &[at(c"no-such-module"), libc::O_NONBLOCK as usize],
            ))
        }),
        // With this command the kernel would only change what Ctrl-Alt-Del does.
        simple("reboot", libc::SYS_reboot, &[0xfee1_dead, 0x2812_1969, 0]),
        attempt("swapon", || {
            forbidden(call(libc::SYS_swapon, &[at(c"/tmp/none"), 0]))
        }),
        attempt("process accounting", || {
            forbidden(call(libc::SYS_acct, &[at(c"/tmp/none")]))
        }),
        attempt("read the kernel's log", || {
            forbidden(call(libc::SYS_syslog, &[3, at(&[0_u8; 64]), 64]))
        }),
        attempt("set the clock", || {
            forbidden(call(libc::SYS_settimeofday, &[at(&[i64::MIN, 0]), 0]))
        }),
        attempt("set a clock", || {
            forbidden(call(libc::SYS_clock_settime, &[0, at(&[-1_i64, 0])]))
        }),
        attempt("tune the clock", || {
            let mut time = [0_u64; 32];
            time[0] = 0x0001;
            forbidden(call(libc::SYS_adjtimex, &[at(&time)]))
        }),
        attempt("quotactl", || {
            forbidden(call(
                libc::SYS_quotactl,
                &[0x0080_0001 << 8, at(c"/dev/vda"), 0, 0],
            ))
        }),
        simple("fanotify_init", libc::SYS_fanotify_init, &[0, 0]),
        simple("vhangup", libc::SYS_vhangup, &[]),
        attempt("set the host name", || {
            forbidden(call(libc::SYS_sethostname, &[at(c"owned"), 5]))
        }),
        attempt("set the domain name", || {
            forbidden(call(libc::SYS_setdomainname, &[at(c"owned"), 5]))
        }),
        simple(
            "compare processes in the kernel",
            libc::SYS_kcmp,
            &[1, 1, 0, 0, 0],
        ),
        simple(
            "move memory between nodes",
            libc::SYS_move_pages,
            &[1, 0, 0, 0, 0, 0],
        ),
    ];
    #[cfg(target_arch = "x86_64")]
    all.extend([
        simple("iopl", libc::SYS_iopl, &[3]),
        simple("ioperm", libc::SYS_ioperm, &[0x80, 1, 1]),
        simple(
            "a call of the x32 kind",
            0x4000_0000 + libc::SYS_getpid,
            &[],
        ),
        attempt(
            "a call of the 32-bit kind",
            || match super::sys::old_getpid() {
                pid if pid > 0 => Escaped("the filter does not see it".into()),
                error => Refused(text(&io::Error::from_raw_os_error(-error as i32))),
            },
        ),
    ]);
    all.push(attempt("sockets that load kernel code", || {
        let mut made = Vec::new();
        for family in 0..46 {
            if [
                libc::AF_UNIX,
                libc::AF_INET,
                libc::AF_INET6,
                libc::AF_NETLINK,
            ]
            .contains(&family)
            {
                continue;
            }
            for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW] {
                if let Ok(fd) = call(libc::SYS_socket, &[family as usize, kind as usize, 0]) {
                    super::sys::close(fd as i32);
                    made.push(family);
                }
            }
        }
        if made.is_empty() {
            Contained("42 rare families refused".into())
        } else {
            Escaped(format!("made sockets of families {made:?}"))
        }
    }));
    all
}
