//! Using up what all share: processes, memory in all its forms, descriptors, disk, the kernel's tables.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::network::gateway;
use super::sys::{self, at, call};
use super::verdict::{Attempt, Contained, Escaped, Verdict, bomb, text};

const MIB: usize = 1 << 20;
/// Far beyond the limits of the suite's containers, and far below what the machine has.
const TOO_MUCH: usize = 2048 * MIB;

/// What ends with a verdict of its own. Those of disk and log are judged from outside.
pub(crate) fn all() -> Vec<Attempt> {
    vec![
        bomb("fork bomb", || forks(false)),
        bomb("flood of zombies", || forks(true)),
        bomb("flood of threads", threads),
        bomb("memory bomb", || {
            until_killed(|| sys::touch_memory(16 * MIB, 0), 16 * MIB)
        }),
        bomb("memory bomb of many processes", many_eaters),
        bomb("locked memory", || {
            until_killed(|| sys::touch_memory(16 * MIB, libc::MAP_LOCKED), 16 * MIB)
        }),
        bomb("huge pages", || {
            until_killed(|| sys::touch_memory(2 * MIB, libc::MAP_HUGETLB), 2 * MIB)
        }),
        bomb("shared memory of System V", || {
            until_killed(|| sys::touch_shared(16 * MIB), 16 * MIB)
        }),
        bomb("files in /dev/shm", shm),
        bomb("files in memory (memfd)", memfds),
        bomb("page cache", page_cache),
        bomb("pipes full of bytes", pipes),
        bomb("sockets of unix full of bytes", unix_sockets),
        bomb("sockets of TCP full of bytes", tcp_sockets),
        bomb("sockets of UDP full of bytes", udp_sockets),
        bomb("message queues", queues),
        bomb("descriptors", descriptors),
        bomb("descriptors on their way", inflight),
        bomb("watchers of files", || {
            count_until_refused(1 << 17, || call(libc::SYS_inotify_init1, &[0]).map(drop))
        }),
        bomb("sets of events", events),
        bomb("timers", || count_until_refused(1 << 20, timer)),
        bomb("folders without end", folders),
        bomb("flood of connections", connections),
        bomb("CPU spin", spin),
    ]
}

/// Repeats `take` until the kernel says no; being killed is the other good end.
fn until_killed(mut take: impl FnMut() -> io::Result<()>, bytes: usize) -> Verdict {
    let mut taken = 0;
    while taken < TOO_MUCH {
        if let Err(error) = take() {
            return Contained(format!("after {} MiB: {}", taken / MIB, text(&error)));
        }
        taken += bytes;
    }
    Escaped(format!("took {} MiB", taken / MIB))
}

fn count_until_refused(too_many: usize, mut take: impl FnMut() -> io::Result<()>) -> Verdict {
    for taken in 0..too_many {
        if let Err(error) = take() {
            return Contained(format!("after {taken}: {}", text(&error)));
        }
    }
    Escaped(format!("took {too_many}"))
}

fn forks(zombies: bool) -> Verdict {
    const TOO_MANY: usize = 4096;
    let mut children = Vec::new();
    let verdict = loop {
        match sys::fork() {
            Ok(0) => {
                if !zombies {
                    // Where the limit ends the parent, its children must not be in the way of what is tried next.
                    let with_parent = [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize];
                    let _ = call(libc::SYS_prctl, &with_parent);
                    std::thread::park();
                }
                sys::exit(0);
            }
            Ok(child) if children.len() < TOO_MANY => children.push(child),
            Ok(_) => break Escaped(format!("{TOO_MANY} processes")),
            Err(error) => {
                // Stays full for a while, so that others would feel it.
                std::thread::sleep(Duration::from_millis(1500));
                break Contained(format!("after {}: {}", children.len(), text(&error)));
            }
        }
    };
    for child in children {
        let _ = sys::kill(child, libc::SIGKILL);
        let _ = sys::wait(child);
    }
    verdict
}

fn threads() -> Verdict {
    let mut taken = 0;
    while taken < 4096 {
        let made = std::thread::Builder::new()
            .stack_size(16 * 1024)
            .spawn(std::thread::park);
        if let Err(error) = made {
            return Contained(format!("after {taken}: {}", text(&error)));
        }
        taken += 1;
    }
    Escaped(format!("{taken} threads"))
}

fn many_eaters() -> Verdict {
    let eaters: Vec<i32> = (0..8)
        .filter_map(|_| match sys::fork() {
            Ok(0) => {
                let _ = fs::write("/proc/self/oom_score_adj", "1000");
                for _ in 0..20 {
                    let _ = sys::touch_memory(16 * MIB, 0);
                }
                sys::exit(0);
            }
            other => other.ok(),
        })
        .collect();
    let count = eaters.len();
    let killed = eaters
        .into_iter()
        .filter(|eater| sys::wait(*eater).is_ok_and(|status| status & 0x7f == libc::SIGKILL))
        .count();
    if killed > 0 {
        Contained(format!("{killed} of {count} were ended by the limit"))
    } else {
        Escaped(format!("{count} processes had 320 MiB each"))
    }
}

fn shm() -> Verdict {
    let path = "/dev/shm/bomb";
    let verdict = (|| {
        let mut file = match File::create(path) {
            Ok(file) => file,
            Err(error) => return Contained(text(&error)),
        };
        let block = vec![1; MIB];
        for taken in 0..2048 {
            if let Err(error) = file.write_all(&block) {
                return Contained(format!("after {taken} MiB: {}", text(&error)));
            }
        }
        Escaped("2048 MiB".into())
    })();
    let _ = fs::remove_file(path);
    verdict
}

fn memfds() -> Verdict {
    let block = vec![1; MIB];
    until_killed(
        || {
            let fd = call(libc::SYS_memfd_create, &[at(c"bomb"), 0])?;
            for _ in 0..16 {
                sys::write(fd as i32, &block)?;
            }
            Ok(())
        },
        16 * MIB,
    )
}

/// The cache of written files counts as the container's memory, and gives way instead of killing.
fn page_cache() -> Verdict {
    let path = "/tmp/cached";
    let written = (|| {
        let mut file = File::create(path)?;
        let block = vec![7; MIB];
        for _ in 0..96 {
            file.write_all(&block)?;
        }
        drop(file);
        for _ in 0..3 {
            io::copy(&mut File::open(path)?, &mut io::sink())?;
        }
        Ok::<_, io::Error>(())
    })();
    let _ = fs::remove_file(path);
    let used = figure("memory/memory.max_usage_in_bytes").or_else(|| figure("memory.peak"));
    let limit = limit();
    match (written, used, limit) {
        (Err(error), ..) => Contained(text(&error)),
        // The kernel may charge a few pages beyond the limit.
        (Ok(()), Some(used), Some(limit)) if used <= limit + MIB as u64 => {
            Contained(format!("peak {} of {} MiB", used >> 20, limit >> 20))
        }
        other => Escaped(format!("{other:?}")),
    }
}

/// Of the container's memory, in bytes.
fn limit() -> Option<u64> {
    figure("memory/memory.limit_in_bytes").or_else(|| figure("memory.max"))
}

fn figure(name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
    text.trim().parse().ok()
}

fn pipes() -> Verdict {
    let block = vec![1; 64 * 1024];
    let mut taken = 0;
    while taken < TOO_MUCH {
        let (_, write) = match sys::pipe() {
            Ok(ends) => ends,
            Err(error) => return Contained(format!("after {} MiB: {}", taken / MIB, text(&error))),
        };
        let _ = call(
            libc::SYS_fcntl,
            &[write as usize, libc::F_SETPIPE_SZ as usize, MIB],
        );
        while let Ok(written) = sys::write(write, &block) {
            taken += written;
        }
    }
    Escaped(format!("{} MiB", taken / MIB))
}

fn unix_sockets() -> Verdict {
    let block = vec![1; 64 * 1024];
    let (mut taken, mut refused) = (0, 0);
    while taken < TOO_MUCH {
        let (one, other) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => {
                return Contained(format!("after {} MiB: {}", taken / MIB, text(&error)));
            }
        };
        let _ = one.set_nonblocking(true);
        let before = taken;
        while let Ok(written) = sys::write(one.as_raw_fd(), &block) {
            taken += written;
        }
        let _ = (one.into_raw_fd(), other.into_raw_fd());
        // The kernel's no to a socket's buffer is a write that does not go through.
        refused += usize::from(taken == before);
        if refused > 20 {
            return Contained(format!("no more than {} MiB", taken / MIB));
        }
    }
    Escaped(format!("{} MiB", taken / MIB))
}

/// Pages that sockets of a protocol hold now, on the whole host: the kernel has one figure for all.
fn socket_pages(protocol: &str) -> usize {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(protocol));
    let figure = line.and_then(|line| line.split(" mem ").nth(1));
    figure
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Fills sockets that `make` connects, and says what the kernel holds for them.
fn fill_sockets(protocol: &str, mut make: impl FnMut() -> io::Result<()>) -> Verdict {
    // v1 has one budget for sockets and another, as large, for all else.
    let too_much = limit().unwrap_or(256 << 20) as usize * 2 / 4096;
    let before = socket_pages(protocol);
    let began = Instant::now();
    let mut most = 0;
    for count in 0..8000 {
        if let Err(error) = make() {
            let mib = most * 4096 / MIB;
            return Contained(format!("{count} sockets, {mib} MiB: {}", text(&error)));
        }
        if count % 16 == 0 {
            most = most.max(socket_pages(protocol).saturating_sub(before));
        }
        if most > too_much {
            let mib = most * 4096 / MIB;
            return Escaped(format!("the kernel holds {mib} MiB for {count} sockets"));
        }
        if began.elapsed() > Duration::from_secs(10) {
            break;
        }
    }
    Contained(format!("the kernel held at most {} MiB", most * 4096 / MIB))
}

fn tcp_sockets() -> Verdict {
    let block = vec![1; 256 * 1024];
    let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else {
        return Escaped("not tried".into());
    };
    fill_sockets("TCP:", || {
        let one = TcpStream::connect(listener.local_addr()?)?;
        let (other, _) = listener.accept()?;
        one.set_nonblocking(true)?;
        for _ in 0..32 {
            if sys::write(one.as_raw_fd(), &block).is_err() {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        let _ = (one.into_raw_fd(), other.into_raw_fd());
        Ok(())
    })
}

fn udp_sockets() -> Verdict {
    let block = vec![1; 32 * 1024];
    let Ok(sender) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else {
        return Escaped("not tried".into());
    };
    fill_sockets("UDP:", || {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = receiver.local_addr()?;
        for _ in 0..8 {
            let _ = sender.send_to(&block, address);
        }
        let _ = receiver.into_raw_fd();
        Ok(())
    })
}

fn queues() -> Verdict {
    let mut number = 0;
    count_until_refused(4096, || {
        number += 1;
        message_queue(&format!("bomb{number}"))
    })
}

fn descriptors() -> Verdict {
    count_until_refused(1 << 20, || {
        File::open("/dev/null").map(|file| {
            let _ = file.into_raw_fd();
        })
    })
}

fn inflight() -> Verdict {
    let Ok(passed) = File::open("/dev/null") else {
        return Escaped("not tried".into());
    };
    let mut pairs = Vec::new();
    let mut sent = 0;
    while sent < 1 << 20 {
        let pair = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => return Contained(format!("after {sent}: {}", text(&error))),
        };
        let mut here = 0;
        loop {
            match sys::pass_descriptor(pair.0.as_raw_fd(), passed.as_raw_fd()) {
                Ok(()) => here += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Contained(format!("after {}: {}", sent + here, text(&error))),
            }
        }
        sent += here;
        pairs.push(pair);
    }
    Escaped(format!("{sent} on their way"))
}

fn events() -> Verdict {
    match UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
        Ok(watched) => count_until_refused(1 << 17, || watch(&watched)),
        Err(error) => Contained(text(&error)),
    }
}

/// Deeper than any path can name. Whoever measures or removes it from outside must manage.
fn folders() -> Verdict {
    let start = Path::new("/tmp/deep");
    let made = fs::create_dir(start).and_then(|()| std::env::set_current_dir(start));
    if let Err(error) = made {
        return Contained(text(&error));
    }
    for depth in 0..6000 {
        if let Err(error) = fs::create_dir("d").and_then(|()| std::env::set_current_dir("d")) {
            return Contained(format!("after {depth}: {}", text(&error)));
        }
    }
    Contained("6000 deep; whoever measures them has to manage".into())
}

/// Each packet from a new port to a new port is a connection that the host has to remember.
fn connections() -> Verdict {
    const LONG_ENOUGH: Duration = Duration::from_secs(6);
    let gateway = gateway();
    let began = Instant::now();
    let mut sent = 0_u32;
    for source in 0..60_u16 {
        let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 20_000 + source)) else {
            continue;
        };
        for port in 1..2000_u16 {
            if began.elapsed() > LONG_ENOUGH {
                break;
            }
            let to = SocketAddr::from((gateway, 10_000 + port));
            sent += u32::from(socket.send_to(b"x", to).is_ok());
        }
    }
    Contained(format!(
        "{sent} packets to new ports in {} ms; the suite looks at the host's table",
        began.elapsed().as_millis()
    ))
}

fn spin() -> Verdict {
    let spinners: Vec<i32> = (0..16)
        .filter_map(|_| match sys::fork() {
            Ok(0) => {
                let began = Instant::now();
                while began.elapsed() < Duration::from_secs(3) {
                    std::hint::spin_loop();
                }
                sys::exit(0);
            }
            other => other.ok(),
        })
        .collect();
    let count = spinners.len();
    for spinner in spinners {
        let _ = sys::wait(spinner);
    }
    Contained(format!(
        "{count} processes for 3 s; the suite times a neighbour"
    ))
}

/// What every app does now and then, and what the kernel counts by user. A neighbour that is the same user to the kernel
/// could use it up for all.
pub(crate) fn ordinary() -> Verdict {
    let mut refused = Vec::new();
    let mut note = |what: &str, done: io::Result<()>| {
        if let Err(error) = done {
            refused.push(format!("{what}: {}", text(&error)));
        }
    };
    note("a timer", timer());
    note("a message queue", message_queue("ordinary"));
    let watcher = call(libc::SYS_inotify_init1, &[0]).map(drop);
    note("a watcher", watcher);
    let passed = UnixStream::pair()
        .and_then(|(one, other)| sys::pass_descriptor(one.as_raw_fd(), other.as_raw_fd()));
    note("a descriptor passed on", passed);
    let pipe = sys::pipe().and_then(|(_, write)| {
        let size = call(
            libc::SYS_fcntl,
            &[write as usize, libc::F_GETPIPE_SZ as usize],
        )?;
        if size < 64 * 1024 {
            return Err(io::Error::other(format!("only {size} bytes")));
        }
        Ok(())
    });
    note("a pipe of the usual size", pipe);
    let watched = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|watched| watch(&watched));
    note("a set of events", watched);
    if refused.is_empty() {
        Contained("a neighbour notices nothing".into())
    } else {
        Escaped(refused.join(", "))
    }
}

/// Takes all that the kernel gives to one user, and keeps it for a while.
pub(crate) fn take_all() -> Verdict {
    let mut took = Vec::new();
    let mut take = |what: &str, most: usize, one: &mut dyn FnMut(usize) -> io::Result<()>| {
        let count = (0..most).take_while(|number| one(*number).is_ok()).count();
        took.push(format!("{count} {what}"));
    };
    take("queues", 4096, &mut |number| {
        message_queue(&format!("all{number}"))
    });
    take("timers", 1 << 20, &mut |_| timer());
    let mut pairs = Vec::new();
    take("descriptors on their way", 1 << 16, &mut |number| {
        if number % 8 == 0 {
            pairs.push(UnixStream::pair()?);
        }
        match pairs.last() {
            Some((one, other)) => sys::pass_descriptor(one.as_raw_fd(), other.as_raw_fd()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    });
    take("large pipes", 4096, &mut |_| {
        let (_, write) = sys::pipe()?;
        let size = libc::F_SETPIPE_SZ as usize;
        call(libc::SYS_fcntl, &[write as usize, size, MIB]).map(drop)
    });
    std::thread::sleep(Duration::from_secs(3));
    Contained(took.join(", "))
}

fn timer() -> io::Result<()> {
    let mut id = 0_usize;
    let place = std::ptr::from_mut(&mut id) as usize;
    call(libc::SYS_timer_create, &[1, 0, place]).map(drop)
}

fn message_queue(name: &str) -> io::Result<()> {
    let name = format!("{name}\0");
    let flags = (libc::O_CREAT | libc::O_RDWR) as usize;
    call(
        libc::SYS_mq_open,
        &[name.as_ptr() as usize, flags, 0o600, 0],
    )
    .map(drop)
}

fn watch(watched: &UdpSocket) -> io::Result<()> {
    let set = call(libc::SYS_epoll_create1, &[0])?;
    let event = [1_u32, 0, 0, 0];
    let add = libc::EPOLL_CTL_ADD as usize;
    let watched = watched.as_raw_fd() as usize;
    call(libc::SYS_epoll_ctl, &[set, add, watched, at(&event)]).map(drop)
}

/// Writes without end to standard output.
pub(crate) fn flood_log(mib: usize) -> Verdict {
    let line = [b'x'; 1023];
    let mut out = io::stdout().lock();
    for _ in 0..mib * 1024 {
        if out
            .write_all(&line)
            .and_then(|()| out.write_all(b"\n"))
            .is_err()
        {
            return Contained("the output was closed".into());
        }
    }
    Contained(format!("{mib} MiB written"))
}

/// Fills the disk, or makes as many empty files as it can. The platform refuses, or ends the instance.
pub(crate) fn fill_disk(inodes: bool) -> Verdict {
    let folder = Path::new("/tmp/fill");
    let _ = fs::create_dir(folder);
    let block = vec![9; MIB];
    for number in 0..4096 {
        let made = if inodes {
            (0..256)
                .try_for_each(|low| File::create(folder.join(format!("{number}-{low}"))).map(drop))
        } else {
            File::create(folder.join(number.to_string()))
                .and_then(|mut file| file.write_all(&block))
        };
        if let Err(error) = made {
            let _ = fs::remove_dir_all(folder);
            return Contained(format!("after {number} rounds: {}", text(&error)));
        }
        if number > 1024 {
            // Beyond every limit: what is left is that the platform notices.
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    Escaped("4096 rounds".into())
}
