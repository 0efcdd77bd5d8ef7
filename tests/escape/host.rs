//! The host around the platform: a network of the suite's own with traps in it, and a picture of what must not change.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where clouds tell a host's credentials. The traps listen on all of them.
const METADATA: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Moves this process, and all that it starts, into a network namespace with nothing but a loopback link.
#[allow(unsafe_code, reason = "the standard library has no namespaces")]
pub(crate) fn enter_own_network() {
    // SAFETY: plain integers; this process has one thread yet.
    let made = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(
        made,
        0,
        "the escape suite needs root: {}",
        std::io::Error::last_os_error()
    );
    ip(&["link", "set", "lo", "up"]);
    for address in METADATA {
        ip(&["address", "add", &format!("{address}/32"), "dev", "lo"]);
    }
}

fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).status().expect("ip runs");
    assert!(done.success(), "ip {args:?}");
}

/// Servers and secrets that are there to be found by whoever gets out.
pub(crate) struct Traps {
    pub(crate) abstract_name: String,
    pub(crate) secret: String,
    pub(crate) canary: PathBuf,
    pub(crate) canary_text: String,
    process: Child,
    _socket: UnixListener,
}

impl Traps {
    pub(crate) fn set(folder: &Path) -> Self {
        for address in METADATA {
            let listener = TcpListener::bind((address, 80)).expect("a metadata service");
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\ncredentials");
                }
            });
        }
        let unique = std::process::id();
        let abstract_name = format!("slipway-escape-{unique}");
        let address = SocketAddr::from_abstract_name(abstract_name.as_bytes()).expect("a name");
        let socket = UnixListener::bind_addr(&address).expect("an abstract socket");
        let canary = folder.join("canary");
        let canary_text = format!("canary of {unique}");
        fs::write(&canary, &canary_text).expect("a canary");
        fs::set_permissions(&canary, fs::Permissions::from_mode(0o644)).expect("for everybody");
        let secret = format!("secret-of-the-host-{unique}");
        let process = Command::new("sleep")
            .arg("3600")
            .env("HOST_SECRET", &secret)
            .stdin(Stdio::null())
            .spawn()
            .expect("a process of the host");
        Self {
            abstract_name,
            secret,
            canary,
            canary_text,
            process,
            _socket: socket,
        }
    }

    pub(crate) fn host_pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Traps {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What of the host hostile code would like to change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture(BTreeMap<String, String>);

impl Picture {
    pub(crate) fn take(traps: &Traps) -> Self {
        let mut seen = BTreeMap::new();
        let mut note = |name: &str, value: String| {
            seen.insert(name.to_owned(), value);
        };
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        for path in [
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sys/kernel/modprobe",
            "/proc/sys/kernel/randomize_va_space",
            "/proc/sys/net/ipv4/ip_forward",
            "/sys/kernel/uevent_helper",
            "/etc/passwd",
            "/etc/shadow",
        ] {
            note(path, text(path));
        }
        note(
            "canary",
            fs::read_to_string(&traps.canary).unwrap_or_default(),
        );
        for path in ["/dev/null", "/dev/zero", "/dev/tty", "/tmp"] {
            let about = fs::metadata(path).expect("is there");
            note(
                path,
                format!("{:o} {}:{}", about.mode(), about.uid(), about.gid()),
            );
        }
        note("binary", hash(Path::new(env!("CARGO_BIN_EXE_slipway"))));
        note("release agents", agents());
        // Others of this machine mount things too; what counts is that no mount of the platform's is left in ours.
        let mounts = text("/proc/self/mountinfo");
        let ours = traps
            .canary
            .parent()
            .expect("a folder")
            .display()
            .to_string();
        note(
            "mounts",
            mounts.lines().filter(|line| line.contains(&ours)).collect(),
        );
        for path in [
            "/tmp/forged-by-a-build",
            "/tmp/bomb",
            "/tmp/node",
            "/made-by-an-app",
            "/usr/bin/made-by-an-app",
        ] {
            note(path, format!("{}", Path::new(path).exists()));
        }
        Self(seen)
    }

    #[track_caller]
    pub(crate) fn is_unchanged(&self, traps: &Traps) {
        assert_eq!(self, &Self::take(traps), "the host has changed");
    }
}

fn agents() -> String {
    let hierarchies = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    hierarchies
        .filter_map(|entry| fs::read_to_string(entry.path().join("release_agent")).ok())
        .collect()
}

/// A fingerprint of a file; what differs in one byte differs in it.
fn hash(path: &Path) -> String {
    let bytes = fs::read(path).expect("a file");
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{sum:x} {}", bytes.len())
}
