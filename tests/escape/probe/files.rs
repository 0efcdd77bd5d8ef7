//! Files of the kernel, of the host and of neighbours, and device nodes.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::Context;
use super::sys::{at, call};
use super::verdict::{
    Attempt, Contained, Escaped, Refused, Verdict, attempt, forbidden, forbidden_or, text,
};

const WRITES: [&str; 26] = [
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/conf/eth0/rp_filter",
    "/proc/sys/net/ipv6/conf/eth0/disable_ipv6",
    "/proc/sys/fs/protected_symlinks",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sys/fs/suid_dumpable",
    "/proc/irq/default_smp_affinity",
    "/proc/bus/pci/00/00.0",
    "/proc/mtrr",
    "/proc/self/setgroups",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/debug/x",
    "/sys/power/state",
    "/sys/class/net/eth0/mtu",
    "/sys/module/kernel/parameters/panic",
    "/sys/fs/bpf/x",
    "/sys/block/vda/queue/nr_requests",
];

/// Of the host's root folder, which is shared and must be read-only.
const PLACES: [&str; 12] = [
    "/",
    "/etc",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/share",
    "/var",
    "/run",
    "/mnt",
    "/home",
    "/.slipway",
    "/sys/fs/cgroup",
];

const READS: [&str; 16] = [
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/vmallocinfo",
    "/proc/slabinfo",
    "/proc/kpagecount",
    "/proc/interrupts",
    "/sys/kernel/debug/x",
    "/sys/kernel/security/lsm",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/ssl/private",
    "/root/.ssh",
    "/var/log/syslog",
];

const DEVICES: [&str; 16] = [
    "/dev/mem",
    "/dev/kmem",
    "/dev/port",
    "/dev/kmsg",
    "/dev/sda",
    "/dev/vda",
    "/dev/nvme0n1",
    "/dev/loop0",
    "/dev/loop-control",
    "/dev/mapper/control",
    "/dev/kvm",
    "/dev/fuse",
    "/dev/net/tun",
    "/dev/vhost-net",
    "/dev/console",
    "/dev/hwrng",
];

/// Kind, major and minor number of what a container must not make a node for.
const NODES: [(&str, u32, usize, usize); 4] = [
    ("memory", libc::S_IFCHR, 1, 1),
    ("the kernel's log", libc::S_IFCHR, 1, 11),
    ("the host's disk", libc::S_IFBLK, 254, 0),
    ("a loop device", libc::S_IFBLK, 7, 0),
];

pub(crate) fn attempts(context: &Context) -> Vec<Attempt> {
    let mut all = Vec::new();
    for path in WRITES {
        all.push(attempt(format!("open {path} for writing"), move || {
            forbidden_or(writable(path), &[libc::ENOENT])
        }));
    }
    for place in PLACES {
        all.push(attempt(format!("make a file in {place}"), move || {
            let file = Path::new(place).join("made-by-an-app");
            forbidden(
                fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(file),
            )
        }));
    }
    for path in READS {
        all.push(attempt(format!("read {path}"), move || {
            nothing_to_read(path)
        }));
    }
    all.push(attempt("learn where the kernel lies", || {
        let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        let known = symbols
            .lines()
            .find(|line| !line.starts_with("0000000000000000"));
        known.map_or_else(
            || Contained("every address is hidden".into()),
            |line| Escaped(line.to_owned()),
        )
    }));
    all.push(attempt("learn which files of the host are disks", || {
        let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let files =
            devices.map(|device| fs::read_to_string(device.path().join("loop/backing_file")));
        let known = files.flatten().find(|file| !file.is_empty());
        known.map_or_else(|| Contained("no device tells its file".into()), Escaped)
    }));
    all.extend(cgroups());
    for device in DEVICES {
        all.push(attempt(format!("open {device}"), move || {
            forbidden_or(fs::File::open(device), &[libc::ENOENT, libc::ENXIO])
        }));
    }
    for (name, kind, major, minor) in NODES {
        all.push(attempt(format!("make a node for {name}"), move || {
            let number = (major << 8) | minor;
            let made = call(
                libc::SYS_mknodat,
                &[
                    libc::AT_FDCWD as usize,
                    at(c"/tmp/node"),
                    (kind | 0o666) as usize,
                    number,
                ],
            );
            let _ = fs::remove_file("/tmp/node");
            forbidden(made)
        }));
    }
    all.push(attempt("change the mode of the host's /dev/null", || {
        use std::os::unix::fs::PermissionsExt as _;
        forbidden(fs::set_permissions(
            "/dev/null",
            fs::Permissions::from_mode(0o600),
        ))
    }));
    all.push(attempt("take the host's /dev/null", || {
        forbidden(std::os::unix::fs::chown(
            "/dev/null",
            Some(super::sys::ids().0),
            None,
        ))
    }));
    all.push(attempt("push keys into a terminal (TIOCSTI)", push_key));
    all.push(attempt("paste into the console (TIOCLINUX)", || {
        let tty = fs::File::open("/dev/tty");
        forbidden_or(
            tty.and_then(|tty| {
                call(
                    libc::SYS_ioctl,
                    &[tty.as_raw_fd() as usize, 0x541c, at(&[3_u8; 16])],
                )
            }),
            &[libc::ENXIO, libc::ENOTTY],
        )
    }));
    all.extend(of_the_host(context));
    all
}

fn writable(path: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path).map(drop)
}

fn nothing_to_read(path: &str) -> Verdict {
    let mut bytes = [0; 64];
    match fs::File::open(path).and_then(|mut file| {
        if file.metadata()?.is_dir() {
            return Ok(fs::read_dir(path)?.count());
        }
        file.read(&mut bytes)
    }) {
        Ok(0) => Contained("it is empty".into()),
        Ok(count) => Escaped(format!("{count} bytes or names")),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            Refused(text(&error))
        }
        Err(error) => Escaped(text(&error)),
    }
}

fn cgroups() -> Vec<Attempt> {
    let mut all = Vec::new();
    for file in [
        "release_agent",
        "notify_on_release",
        "cgroup.procs",
        "tasks",
        "memory.limit_in_bytes",
        "memory.max",
        "pids.max",
        "devices.allow",
        "cpu.shares",
        "cpu.weight",
        "freezer.state",
        "cgroup.freeze",
        "cgroup.subtree_control",
    ] {
        all.push(attempt(
            format!("open the cgroup file {file} for writing"),
            move || {
                let mut tried = 0;
                for folder in cgroup_folders() {
                    let path = folder.join(file);
                    if path.exists() {
                        tried += 1;
                        if writable(&path.display().to_string()).is_ok() {
                            return Escaped(path.display().to_string());
                        }
                    }
                }
                Refused(format!("{tried} of them, none opens"))
            },
        ));
    }
    all.push(attempt("make a cgroup", || {
        for folder in cgroup_folders() {
            if fs::create_dir(folder.join("made-by-an-app")).is_ok() {
                return Escaped(folder.display().to_string());
            }
        }
        Refused("no folder takes one".into())
    }));
    all.push(attempt("see cgroups of neighbours", || {
        for folder in cgroup_folders() {
            let seen = fs::read_dir(folder.join(".."))
                .into_iter()
                .flatten()
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().len() == 36);
            if seen {
                return Escaped(folder.display().to_string());
            }
        }
        Contained("every cgroup is its own root".into())
    }));
    all
}

fn cgroup_folders() -> Vec<std::path::PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.path());
    below.chain([root.to_owned()]).collect()
}

fn push_key() -> Verdict {
    let mut tried = Vec::new();
    for path in [
        "/dev/tty",
        "/dev/pts/0",
        "/dev/console",
        "/proc/1/fd/0",
        "/proc/self/fd/0",
    ] {
        if let Ok(terminal) = fs::OpenOptions::new().read(true).write(true).open(path) {
            if call(
                libc::SYS_ioctl,
                &[
                    terminal.as_raw_fd() as usize,
                    libc::TIOCSTI as usize,
                    at(b"x"),
                ],
            )
            .is_ok()
            {
                return Escaped(path.into());
            }
            tried.push(path);
        }
    }
    Refused(format!("opened {tried:?}"))
}

fn of_the_host(context: &Context) -> Vec<Attempt> {
    let data = context.text("data");
    let canary = context.text("canary");
    let content = context.text("canary_text");
    let mut all = Vec::new();
    for (name, path) in [
        ("the platform's data folder", data.clone()),
        (
            "the platform's master key",
            format!("{data}/server/master.key"),
        ),
        ("the cell's ledger", format!("{data}/cell")),
        (
            "a neighbour's scratch files",
            format!("{data}/cell/containers"),
        ),
        ("a file that everybody on the host may read", canary.clone()),
    ] {
        all.push(attempt(format!("open {name}"), move || {
            forbidden_or(fs::File::open(path), &[libc::ENOENT])
        }));
    }
    let up = canary.trim_start_matches('/').to_owned();
    all.push(attempt("climb out of the root by ..", move || {
        let climb = format!("{}{up}", "../".repeat(64));
        forbidden_or(fs::File::open(climb), &[libc::ENOENT])
    }));
    let target = canary.clone();
    all.push(attempt("follow a link out of the root", move || {
        let _ = fs::remove_file("/tmp/way-out");
        let opened = symlink(&target, "/tmp/way-out").and_then(|()| fs::File::open("/tmp/way-out"));
        forbidden_or(opened, &[libc::ENOENT])
    }));
    all.push(attempt("reach the host's files through /proc", move || {
        for start in [
            "/proc/self/root",
            "/proc/1/root",
            "/proc/self/cwd/../../../../..",
            "/proc/thread-self/root",
        ] {
            if let Ok(text) = fs::read_to_string(format!("{start}{canary}"))
                && text.contains(&content)
            {
                return Escaped(start.into());
            }
        }
        Refused("four ways".into())
    }));
    all
}
