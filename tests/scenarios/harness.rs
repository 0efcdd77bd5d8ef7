//! A platform of one test: its own data folder, port and client.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The domain of all test platforms. Requests name hosts below it and go to the platform's own port.
pub(crate) const DOMAIN: &str = "apps.test";

/// A running `slipway up`. Dropping it stops everything and checks that nothing is left.
pub(crate) struct Platform {
    folder: TempDir,
    up: Option<Child>,
    /// The words before the program where the platform itself is started and stopped; none but for a host of its own.
    through: Vec<String>,
    pub(crate) front: SocketAddr,
}

/// What a finished command printed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(
            self.code, 0,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "'{text}' is missing in:\n{}",
                self.stderr
            );
        }
        self
    }
}

/// A response, as bytes came.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(':'));
        pairs
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

impl Platform {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(args: &[&str]) -> Self {
        Self::start_in(&std::env::temp_dir(), args)
    }

    /// With its folder below `base`.
    pub(crate) fn start_in(base: &Path, args: &[&str]) -> Self {
        Self::start_on(base, Vec::new(), args)
    }

    /// On a host that one enters through a command.
    pub(crate) fn start_through(through: Vec<String>) -> Self {
        Self::start_on(&std::env::temp_dir(), through, &[])
    }

    fn start_on(base: &Path, through: Vec<String>, args: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("sw")
            .tempdir_in(base)
            .expect("a folder");
        let mut platform = Self {
            folder,
            up: None,
            through,
            front: free_address(),
        };
        platform.up(args);
        platform
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("d")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts (or starts again) `slipway up` on the port it had before.
    pub(crate) fn up(&mut self, args: &[&str]) {
        self.begin_up(args);
        let ready = eventually(Duration::from_secs(60), || {
            let text = self.up_log();
            assert!(!text.contains('✗'), "slipway up failed:\n{text}");
            text.contains("is ready").then_some(())
        });
        ready.unwrap_or_else(|| panic!("slipway up is not ready:\n{}", self.up_log()));
        let settings = fs::read_to_string(self.data().join("run/settings.json")).expect("settings");
        let settings: serde_json::Value =
            serde_json::from_str(&settings).expect("settings are JSON");
        self.front = settings["front"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("the front address");
    }

    /// The same without a wait for it to be ready.
    pub(crate) fn begin_up(&mut self, args: &[&str]) {
        let log = fs::File::create(self.folder.path().join("up.log")).expect("a log");
        let child = self
            .platform()
            .args(["up", "--data"])
            .arg(self.data())
            .args(["--listen", &self.front.to_string(), "--domain", DOMAIN])
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("slipway starts");
        self.up = Some(child);
    }

    pub(crate) fn up_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default()
    }

    /// The binary with this test's own client folder, and nothing of the developer's settings.
    pub(crate) fn slipway(&self) -> Command {
        self.clean(Command::new(env!("CARGO_BIN_EXE_slipway")))
    }

    /// The binary on the platform's host.
    fn platform(&self) -> Command {
        let Some((first, others)) = self.through.split_first() else {
            return self.slipway();
        };
        let mut command = Command::new(first);
        command.args(others).arg(env!("CARGO_BIN_EXE_slipway"));
        self.clean(command)
    }

    fn clean(&self, mut command: Command) -> Command {
        for name in [
            "SLIPWAY_API",
            "SLIPWAY_TOKEN",
            "SLIPWAY_USERNAME",
            "SLIPWAY_PASSWORD",
            "SLIPWAY_ADMIN_PASSWORD",
            "MONGODB_URI",
        ] {
            command.env_remove(name);
        }
        command
            .env("SLIPWAY_HOME", self.folder.path().join("client"))
            .current_dir(self.folder.path());
        command
    }

    /// Runs a client command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_in(self.folder.path(), args)
    }

    pub(crate) fn run_in(&self, folder: &Path, args: &[&str]) -> Ran {
        let output = self
            .slipway()
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .expect("slipway runs");
        ran(&output)
    }

    /// Writes an app's files below this test's folder.
    pub(crate) fn app(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.folder.path().join("src").join(name);
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, content).expect("a file");
        }
        folder
    }

    /// A request to an app by its host label.
    pub(crate) fn get(&self, host: &str, path: &str) -> Response {
        request(
            self.front,
            &format!("GET {path} HTTP/1.1\r\nHost: {host}.{DOMAIN}\r\nConnection: close\r\n\r\n"),
            b"",
        )
    }

    /// A request to the API with the client's own token.
    pub(crate) fn api(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Response {
        let config = fs::read_to_string(self.folder.path().join("client/config.json"))
            .expect("the client is logged in");
        let config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
        let token = config["access_token"].as_str().expect("a token");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: bearer {token}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.front,
            body.len()
        );
        request(self.front, &head, body)
    }

    pub(crate) fn api_json(&self, path: &str) -> serde_json::Value {
        let response = self.api("GET", path, "application/json", b"");
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        serde_json::from_str(&response.body).expect("JSON")
    }

    pub(crate) fn pid(&self, role: &str) -> i32 {
        let path = self.data().join("run").join(format!("{role}.pid"));
        fs::read_to_string(path)
            .expect("a pid file")
            .trim()
            .parse()
            .expect("a pid")
    }

    /// Stops the supervisor the way Ctrl-C does.
    pub(crate) fn interrupt(&mut self) {
        let mut up = self.up.take().expect("it runs");
        signal(i32::try_from(up.id()).expect("a pid"), "INT");
        up.wait().expect("it ends");
    }

    /// Kills the supervisor without a word.
    pub(crate) fn kill_up(&mut self) {
        let mut up = self.up.take().expect("it runs");
        up.kill().expect("killed");
        up.wait().expect("it ends");
    }
}

impl Drop for Platform {
    #[allow(
        clippy::print_stderr,
        reason = "what a failed scenario leaves for its reader"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- slipway up\n{}", self.up_log());
            for role in ["server", "cell", "router"] {
                let log = fs::read_to_string(self.data().join("log").join(format!("{role}.log")))
                    .unwrap_or_default();
                let tail = log
                    .lines()
                    .filter(|line| !line.contains("INFO access:") || line.contains("\" 502 "))
                    .rev()
                    .take(40)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>()
                    .join("\n");
                eprintln!("--- {role}\n{tail}");
            }
        }
        let down = self
            .platform()
            .args(["down", "--data"])
            .arg(self.data())
            .stdin(Stdio::null())
            .output()
            .expect("slipway runs");
        if let Some(mut up) = self.up.take() {
            if !down.status.success() {
                let _ = up.kill();
            }
            let _ = up.wait();
        }
        let left = leftovers(&self.data());
        if !std::thread::panicking() {
            assert!(
                down.status.success(),
                "slipway down failed: {}",
                String::from_utf8_lossy(&down.stderr)
            );
            assert!(left.is_empty(), "slipway down left {left:?}");
        }
    }
}

/// An address for a front port that is bound again after it was free for a while. It lies below the ports that the kernel
/// gives to connections, of which parallel tests make many.
fn free_address() -> SocketAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() * 100 + TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + number % 10_000).expect("below 30000");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Mounts and processes that still belong to a data folder.
fn leftovers(data: &Path) -> Vec<String> {
    let data = data.display().to_string();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut left = mounts
        .lines()
        .filter(|line| line.contains(&data))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    for entry in fs::read_dir("/proc").expect("proc").flatten() {
        let args = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let args = String::from_utf8_lossy(&args).replace('\0', " ");
        if args.contains(&data) {
            left.push(args);
        }
    }
    left
}

pub(crate) fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn signal(pid: i32, signal: &str) {
    let status = Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success(), "kill -{signal} {pid}");
}

pub(crate) fn is_alive(pid: i32) -> bool {
    // What has ended and was not reaped yet is dead too.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Sends one request and reads to the end of the connection.
pub(crate) fn request(to: SocketAddr, head: &str, body: &[u8]) -> Response {
    let attempt = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = attempt().unwrap_or_else(|error| panic!("{to} did not answer: {error}"));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    Response {
        status,
        head: head.to_owned(),
        body: if chunked {
            dechunk(body)
        } else {
            body.to_owned()
        },
    }
}

fn dechunk(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// Looks again until there is an answer, or the patience ends.
pub(crate) fn eventually<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A web server in the Perl that every Debian has: `/env/NAME` answers with that variable, `/` with the instance index.
pub(crate) const PERL_SERVER: &str = r#"use strict; use warnings; use IO::Socket::INET;
$| = 1;
$SIG{TERM} = sub { print "bye\n"; exit 0 };
my $server = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $ENV{PORT}, Listen => 64, ReuseAddr => 1) or die "no socket: $!";
print "listening on $ENV{PORT}\n";
while (1) {
    my $client = $server->accept() or next;
    my $line = <$client> // '';
    while (my $header = <$client>) { last if $header =~ /^\r?\n$/ }
    my ($path) = $line =~ m{^\S+ (\S+)};
    $path //= '/';
    my $body = $path =~ m{^/env/(\w+)} ? ($ENV{$1} // '(unset)')
        : $path =~ m{^/stderr/(\w+)} ? do { print STDERR "$1\n"; 'ok' }
        : $path eq '/exit' ? do { print STDERR "asked to exit\n"; exit 3 }
        : "instance $ENV{CF_INSTANCE_INDEX}";
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}
"#;

pub(crate) const PERL_APP: &[(&str, &str)] = &[
    ("server.pl", PERL_SERVER),
    ("Procfile", "web: perl server.pl\n"),
];
