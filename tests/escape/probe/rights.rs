//! Becoming more than user `vcap`, and reaching for processes that are not its own.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::Context;
use super::sys::{at, call, ids, kill};
use super::verdict::{
    Attempt, Contained, Escaped, Refused, Verdict, attempt, forbidden, forbidden_or, text,
};

pub(crate) fn attempts(context: &Context) -> Vec<Attempt> {
    let mut all = own_rights();
    all.extend(processes(context));
    all
}

fn own_rights() -> Vec<Attempt> {
    vec![
        attempt("setuid 0", || {
            forbidden_or(call(libc::SYS_setuid, &[0]), &[libc::EINVAL])
        }),
        attempt("setgid 0", || {
            forbidden_or(call(libc::SYS_setgid, &[0]), &[libc::EINVAL])
        }),
        attempt("setresuid to a neighbour's user", || {
            let (uid, _) = ids();
            let other = uid as usize + 1;
            forbidden_or(
                call(libc::SYS_setresuid, &[other, other, other]),
                &[libc::EINVAL],
            )
        }),
        attempt("setgroups", || {
            forbidden_or(
                call(libc::SYS_setgroups, &[1, at(&[0_u32])]),
                &[libc::EINVAL],
            )
        }),
        attempt("raise capabilities", || {
            let header = [0x2008_0522_u32, 0];
            let all = [u32::MAX; 6];
            forbidden(call(libc::SYS_capset, &[at(&header), at(&all)]))
        }),
        attempt("raise an ambient capability", || {
            forbidden(call(
                libc::SYS_prctl,
                &[
                    libc::PR_CAP_AMBIENT as usize,
                    libc::PR_CAP_AMBIENT_RAISE as usize,
                    21,
                    0,
                    0,
                ],
            ))
        }),
        attempt("capabilities that are there", || {
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            let sets: Vec<_> = status
                .lines()
                .filter(|line| line.starts_with("Cap"))
                .collect();
            if sets.len() == 5 && sets.iter().all(|line| line.ends_with("\t0000000000000000")) {
                Contained("all five sets are empty".into())
            } else {
                Escaped(sets.join(", "))
            }
        }),
        attempt("allow new privileges again", || {
            let no_new = call(
                libc::SYS_prctl,
                &[libc::PR_GET_NO_NEW_PRIVS as usize, 0, 0, 0, 0],
            );
            match no_new {
                Ok(1) => forbidden_or(
                    call(
                        libc::SYS_prctl,
                        &[libc::PR_SET_NO_NEW_PRIVS as usize, 0, 0, 0, 0],
                    ),
                    &[libc::EINVAL],
                ),
                other => Escaped(format!("no_new_privs is {other:?}")),
            }
        }),
        attempt("take the system-call filter off", || {
            let off = call(
                libc::SYS_prctl,
                &[libc::PR_SET_SECCOMP as usize, 0, 0, 0, 0],
            );
            forbidden_or(off, &[libc::EINVAL])
        }),
        attempt("run the host's setuid programs", setuid_programs),
        attempt("make a setuid file of root's", || {
            let made = fs::copy("/proc/self/exe", "/tmp/suid")
                .and_then(|_| std::os::unix::fs::chown("/tmp/suid", Some(0), Some(0)));
            let verdict = forbidden_or(made, &[libc::EINVAL]);
            let _ = fs::remove_file("/tmp/suid");
            verdict
        }),
        attempt("give a file capabilities", || {
            let _ = fs::write("/tmp/caps", "x");
            let value = [0x0200_0001_u32, u32::MAX, 0, u32::MAX, 0];
            let set = call(
                libc::SYS_setxattr,
                &[
                    at(c"/tmp/caps"),
                    at(c"security.capability"),
                    at(&value),
                    20,
                    0,
                ],
            );
            let _ = fs::remove_file("/tmp/caps");
            forbidden(set)
        }),
        attempt("raise the limit of open files", || {
            let wanted = [1_u64 << 20, 1 << 20];
            forbidden(call(
                libc::SYS_prlimit64,
                &[0, libc::RLIMIT_NOFILE as usize, at(&wanted), 0],
            ))
        }),
        attempt("allow core dumps", || {
            let wanted = [u64::MAX, u64::MAX];
            forbidden(call(
                libc::SYS_prlimit64,
                &[0, libc::RLIMIT_CORE as usize, at(&wanted), 0],
            ))
        }),
        attempt("be nicer to itself", || {
            forbidden(call(libc::SYS_setpriority, &[0, 0, -20_isize as usize]))
        }),
        attempt("run in real time", || {
            forbidden(call(libc::SYS_sched_setscheduler, &[0, 1, at(&[10_u32])]))
        }),
        attempt("use the disk in real time", || {
            forbidden(call(libc::SYS_ioprio_set, &[1, 0, 1 << 13]))
        }),
        attempt("hide from the memory killer", || {
            forbidden(fs::write("/proc/self/oom_score_adj", "-1000"))
        }),
        attempt("map the host's users", || {
            let map = fs::write("/proc/self/uid_map", "0 0 4294967295\n");
            forbidden(map)
        }),
    ]
}

fn setuid_programs() -> Verdict {
    let mut found = 0;
    for folder in ["/usr/bin", "/usr/sbin", "/usr/lib/openssh", "/usr/libexec"] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            if !data.is_file() || data.permissions().mode() & 0o6000 == 0 {
                continue;
            }
            found += 1;
            let path = format!("{}\0", entry.path().display());
            // The place of `f_flags` in the kernel's struct of the 64-bit machines; bit 1 is `nosuid`.
            let mut about = [0_u64; 15];
            let known = call(
                libc::SYS_statfs,
                &[
                    path.as_ptr() as usize,
                    std::ptr::from_mut(&mut about) as usize,
                ],
            );
            let flags = if cfg!(target_endian = "little") {
                about[10]
            } else {
                0
            };
            if known.is_err() || flags & 0x2 == 0 {
                return Escaped(format!(
                    "{} lies on a mount that honours it",
                    entry.path().display()
                ));
            }
        }
    }
    Contained(format!(
        "{found} programs lie where the bit counts for nothing"
    ))
}

fn processes(context: &Context) -> Vec<Attempt> {
    let host_pid = context.number("host_pid") as i32;
    let secret = context.text("secret");
    let mut all = vec![
        attempt("ptrace the init", || {
            forbidden(call(libc::SYS_ptrace, &[16, 1, 0, 0]))
        }),
        attempt("seize the init", || {
            forbidden(call(libc::SYS_ptrace, &[0x4206, 1, 0, 0]))
        }),
        attempt("read the init's memory", || {
            let buffer = [0_u8; 8];
            let local = [at(&buffer), 8];
            let remote = [at(c"x"), 1];
            forbidden(call(
                libc::SYS_process_vm_readv,
                &[1, at(&local), 1, at(&remote), 1, 0],
            ))
        }),
        attempt("write the init's memory", || {
            let local = [at(c"x"), 1];
            let remote = [at(c"x"), 1];
            forbidden(call(
                libc::SYS_process_vm_writev,
                &[1, at(&local), 1, at(&remote), 1, 0],
            ))
        }),
        attempt("take a descriptor of the init", || {
            let init = call(libc::SYS_pidfd_open, &[1, 0]);
            forbidden(init.and_then(|init| call(libc::SYS_pidfd_getfd, &[init, 3, 0])))
        }),
        attempt("change the init's limits", || {
            let fewer = [1024_u64, 1024];
            match call(
                libc::SYS_prlimit64,
                &[1, libc::RLIMIT_NOFILE as usize, at(&fewer), 0],
            ) {
                Ok(_) => Contained("it can, as with any process of its own container".into()),
                refused => forbidden(refused),
            }
        }),
        attempt("kill the init", || survives(libc::SIGKILL)),
        attempt("stop the init", || survives(libc::SIGSTOP)),
        attempt("signal a process of the host", move || {
            forbidden_or(kill(host_pid, 0), &[libc::ESRCH])
        }),
        attempt("open a process of the host", move || {
            forbidden_or(
                call(libc::SYS_pidfd_open, &[host_pid as usize, 0]),
                &[libc::ESRCH],
            )
        }),
        attempt("see foreign processes", || {
            let names: Vec<String> = fs::read_dir("/proc")
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| {
                    entry
                        .file_name()
                        .to_string_lossy()
                        .bytes()
                        .all(|byte| byte.is_ascii_digit())
                })
                .filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok())
                .map(|name| name.trim().to_owned())
                .collect();
            if names.len() > 40
                || names
                    .iter()
                    .any(|name| name == "kthreadd" || name == "systemd")
            {
                Escaped(names.join(" "))
            } else {
                Contained(format!("{} processes, all its own", names.len()))
            }
        }),
        attempt("find a secret of the host in any environment", move || {
            find_secret(&secret)
        }),
        attempt("inherited descriptors", || {
            let open: Vec<String> = fs::read_dir("/proc/self/fd")
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| {
                    Some((
                        entry.file_name().into_string().ok()?,
                        fs::read_link(entry.path()).ok()?,
                    ))
                })
                .map(|(number, target)| format!("{number}={}", target.display()))
                .collect();
            let foreign: Vec<_> = open
                .iter()
                .filter(|entry| {
                    let target = entry.split_once('=').map_or("", |(_, target)| target);
                    !(target.starts_with("pipe:")
                        || target.starts_with("socket:")
                        || target == "/dev/null"
                        || target.starts_with("/proc/")
                        || target.starts_with("/home/vcap")
                        || target.starts_with("/.slipway/cache"))
                })
                .collect();
            if foreign.is_empty() {
                Contained(open.join(" "))
            } else {
                Escaped(format!("{foreign:?}"))
            }
        }),
        attempt(
            "overwrite a running program of the host (CVE-2019-5736)",
            overwrite_binary,
        ),
    ];
    for file in [
        "environ",
        "mem",
        "maps",
        "exe",
        "root",
        "cwd",
        "fd",
        "auxv",
        "stack",
        "syscall",
        "task/1/environ",
    ] {
        all.push(attempt(format!("look into /proc/1/{file}"), move || {
            let path = format!("/proc/1/{file}");
            let looked = match file {
                "exe" | "root" | "cwd" => fs::read_link(&path).map(drop),
                "fd" => fs::read_dir(&path).map(drop),
                _ => fs::read(&path).map(drop),
            };
            forbidden_or(looked, &[libc::ENOENT])
        }));
    }
    all
}

/// A signal to pid 1 from inside its own namespace may arrive, and must not end the container.
fn survives(signal: i32) -> Verdict {
    let sent = kill(1, signal);
    let state = fs::read_to_string("/proc/1/stat").unwrap_or_default();
    let state = state
        .rsplit_once(") ")
        .map_or("", |(_, rest)| &rest[..1])
        .to_owned();
    match (sent, state.as_str()) {
        (Err(error), _) => Refused(text(&error)),
        (Ok(()), "S" | "R" | "D") => Contained("it goes on".into()),
        (Ok(()), state) => Escaped(format!("it is in state '{state}'")),
    }
}

fn find_secret(secret: &str) -> Verdict {
    let mut looked = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        for file in ["environ", "cmdline"] {
            let Ok(bytes) = fs::read(entry.path().join(file)) else {
                continue;
            };
            looked += 1;
            if String::from_utf8_lossy(&bytes).contains(secret) {
                return Escaped(format!("found in {}", entry.path().join(file).display()));
            }
        }
    }
    Contained(format!("not in the {looked} that it may read"))
}

fn overwrite_binary() -> Verdict {
    let path = "/.slipway/slipway";
    let mut ways: Vec<(String, io::Result<()>)> = vec![
        (path.into(), open_for_writing(path)),
        (
            "truncate".into(),
            fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(path)
                .map(drop),
        ),
        ("unlink".into(), fs::remove_file(path)),
        ("rename".into(), fs::rename("/proc/self/comm", path)),
        (
            "chmod".into(),
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)),
        ),
    ];
    // Through a descriptor that names the file without opening it, and through the link of a process that runs it.
    let named = std::ffi::CString::new(path).unwrap_or_default();
    if let Ok(fd) = call(
        libc::SYS_openat,
        &[
            libc::AT_FDCWD as usize,
            at(named.as_c_str()),
            libc::O_PATH as usize,
            0,
        ],
    ) {
        ways.push((
            "fd".into(),
            open_for_writing(&format!("/proc/self/fd/{fd}")),
        ));
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let exe = entry.path().join("exe");
        if fs::read_link(&exe).is_ok_and(|target| target.ends_with("slipway")) {
            ways.push((
                exe.display().to_string(),
                open_for_writing(&exe.display().to_string()),
            ));
        }
    }
    let tried = ways.len();
    for (way, result) in ways {
        if result.is_ok() {
            return Escaped(format!("{way} worked"));
        }
    }
    match fs::metadata(path) {
        Ok(data) if data.uid() == ids().0 => Escaped("it owns the file".into()),
        _ => Refused(format!("{tried} ways")),
    }
}

fn open_for_writing(path: &str) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    let _ = file.as_raw_fd();
    Ok(())
}
