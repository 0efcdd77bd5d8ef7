//! The promises, each a test on the suite's one platform.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{DOMAIN, PERL_APP, Platform, Ran, eventually};
use crate::host::{Picture, Traps};
use crate::probe::forge;
use crate::tally::Tally;

const HOSTILE_LIMITS: [&str; 4] = ["-m", "128M", "-k", "256M"];
const POM: &str = "<project><modelVersion>4.0.0</modelVersion><groupId>a</groupId><artifactId>b</artifactId><version>1</version></project>";
/// The slowest answer that a neighbour may get while a bomb goes off. Usual are 50 ms; the rest is for a machine whose disk
/// or cores others use too.
const SLOWEST: Duration = Duration::from_secs(30);

pub(crate) struct World {
    platform: Platform,
    traps: Traps,
    before: Picture,
    admin: u16,
    victim: Ipv4Addr,
}

impl World {
    pub(crate) fn start() -> Self {
        let admin = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("bound")
            .port();
        let platform = Platform::start_with(&["--admin-listen", &format!("127.0.0.1:{admin}")]);
        let traps = Traps::set(platform.folder());
        let source = platform.app("victim", PERL_APP);
        platform
            .run_in(&source, &["push", "victim", "-m", "64M"])
            .ok();
        let victim = platform
            .get("victim", "/env/CF_INSTANCE_IP")
            .body
            .parse()
            .expect("an address");
        let before = Picture::take(&traps);
        let world = Self {
            platform,
            traps,
            before,
            admin,
            victim,
        };
        world.traps_work();
        world
    }

    /// What the probe must not reach is there for the host: a refusal means something.
    fn traps_work(&self) {
        for address in [
            SocketAddr::from((Ipv4Addr::new(169, 254, 169, 254), 80)),
            SocketAddr::from((Ipv4Addr::new(100, 100, 100, 200), 80)),
            SocketAddr::from((Ipv4Addr::LOCALHOST, self.admin)),
            SocketAddr::from((self.victim, 8080)),
            self.platform.front,
        ] {
            TcpStream::connect_timeout(&address, Duration::from_secs(5))
                .unwrap_or_else(|error| panic!("{address}: {error}"));
        }
    }

    /// Source with the probe, what it needs to know, and these files.
    fn source(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let context = format!(
            "front={}\nadmin={}\ndomain={DOMAIN}\nvictim={}\ndata={}\ncanary={}\ncanary_text={}\nsecret={}\nabstract={}\nhost_pid={}\n",
            self.platform.front.port(),
            self.admin,
            self.victim,
            self.platform.data().display(),
            self.traps.canary.display(),
            self.traps.canary_text,
            self.traps.secret,
            self.traps.abstract_name,
            self.traps.host_pid(),
        );
        let folder = self.platform.app(name, files);
        fs::write(folder.join("context"), context).expect("a file");
        let probe = folder.join("hostile");
        let _ = fs::remove_file(&probe);
        fs::copy(std::env::current_exe().expect("known"), probe).expect("copied");
        folder
    }

    /// The probe as an app of this name, pushed once.
    fn app(&self, name: &str) {
        if self.platform.run(&["app", name]).code == 0 {
            return;
        }
        let start = "web: cp hostile /tmp/hostile && chmod 755 /tmp/hostile && exec /tmp/hostile probe serve\n";
        let source = self.source(name, &[("Procfile", start)]);
        let mut push = vec!["push", name];
        push.extend(HOSTILE_LIMITS);
        self.platform.run_in(&source, &push).ok();
    }

    /// Runs the probe in a build, as the Maven wrapper of a project.
    fn hostile_build(&self, name: &str, part: &str) -> Ran {
        let wrapper = format!(
            "#!/bin/sh\ncase \"$*\" in *--version*) exit 0 ;; esac\ncp hostile /tmp/hostile && chmod 755 /tmp/hostile && /tmp/hostile probe {part}\nexit 1\n"
        );
        let source = self.source(name, &[("pom.xml", POM), ("mvnw", &wrapper)]);
        self.platform.run_in(&source, &["push", name, "-m", "256M"])
    }

    fn ask(&self, host: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.platform.front, SLOWEST)?;
        // One request makes several attempts, of which each has minutes.
        stream.set_read_timeout(Some(Duration::from_secs(900)))?;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nHost: {host}.{DOMAIN}\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        match text.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => Err(std::io::Error::other(text)),
        }
    }

    /// Does something, and measures meanwhile how a neighbour answers. Returns the slowest answer.
    fn watching_the_victim<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut slowest = Duration::ZERO;
                while !done.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let answer = self.ask("victim", "/");
                    assert!(answer.is_ok(), "the neighbour does not answer: {answer:?}");
                    slowest = slowest.max(asked.elapsed());
                    std::thread::sleep(Duration::from_millis(50));
                }
                slowest
            });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            done.store(true, Ordering::Relaxed);
            let slowest = watcher
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (
                result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                slowest,
            )
        })
    }

    /// Sees to it that the hostile app is there again, which may have been ended for what it did. After its third end the
    /// platform waits longer than anybody wants to watch, unless one asks for a restart.
    fn until_hostile_serves(&self) {
        if self.ask("hostile", "/").is_err() {
            self.platform.run(&["restart", "hostile"]).ok();
        }
        let serves = eventually(Duration::from_secs(60), || {
            self.ask("hostile", "/").ok().filter(|body| body == "ready")
        });
        assert!(
            serves.is_some(),
            "the hostile app is not started again: {:?}",
            self.platform.run(&["app", "hostile"])
        );
    }

    pub(crate) fn end(self) {
        self.before.is_unchanged(&self.traps);
    }
}

pub(crate) fn app(world: &World) {
    world.app("hostile");
    let mut tally = Tally::default();
    tally.count(
        &world
            .ask("hostile", "/attempts")
            .expect("the probe answers"),
    );
    world.before.is_unchanged(&world.traps);
    tally.close("app", 200);
}

pub(crate) fn app_bombs(world: &World) {
    world.app("hostile");
    let mut tally = Tally::default();
    let mut slowest_of_all = Duration::ZERO;
    for number in 0.. {
        let (answer, slowest) =
            world.watching_the_victim(|| world.ask("hostile", &format!("/bomb/{number}")));
        match answer {
            Ok(body) if body == "ready" => break,
            Ok(line) => {
                tally.count(&line);
                if slowest > SLOWEST {
                    tally.escaped(&format!("a neighbour's time: {slowest:?} for an answer"));
                }
            }
            // Death of all of it is the strictest of limits.
            Err(error) => {
                tally.contained(&format!(
                    "bomb {number}: the whole app was ended ({error:.60})"
                ));
                world.until_hostile_serves();
            }
        }
        slowest_of_all = slowest_of_all.max(slowest);
    }
    connections_are_bounded(&mut tally);
    limits_by_user_are_a_containers_own(world, &mut tally);
    for (path, name) in [
        ("/flood-log", "flood of the log"),
        ("/fill-inodes", "bomb of empty files"),
        ("/fill-disk", "disk bomb"),
    ] {
        let (answer, slowest) = world.watching_the_victim(|| world.ask("hostile", path));
        match answer {
            Ok(line) => tally.count(&line),
            Err(_) => {
                world.until_hostile_serves();
                tally.contained(&format!("{name}: the instance was ended"));
            }
        }
        slowest_of_all = slowest_of_all.max(slowest);
    }
    let logs = largest(&world.platform.data().join("cell/containers"), "logs");
    if logs > 20 << 20 {
        tally.escaped(&format!("flood of the log: {} MiB on disk", logs >> 20));
    }
    println!(
        "  a neighbour's slowest answer meanwhile: {} ms",
        slowest_of_all.as_millis()
    );
    world.before.is_unchanged(&world.traps);
    tally.close("app, bombs", 29);
}

/// One instance takes all that the kernel gives to a user, while another does what apps do.
fn limits_by_user_are_a_containers_own(world: &World, tally: &mut Tally) {
    world.app("neighbour");
    world.until_hostile_serves();
    std::thread::scope(|scope| {
        let taking = scope.spawn(|| world.ask("hostile", "/take-all"));
        let mut beside = Vec::new();
        // It keeps what it has taken for 3 s before it answers.
        while !taking.is_finished() {
            let answer = world.ask("neighbour", "/ordinary");
            beside.push(answer.expect("the neighbour answers"));
            std::thread::sleep(Duration::from_millis(300));
        }
        match taking.join().expect("asked") {
            Ok(line) => tally.count(&line),
            Err(error) => {
                tally.contained(&format!(
                    "all that one user may have: the whole app was ended ({error:.60})"
                ));
                world.until_hostile_serves();
            }
        }
        let worst = beside.iter().find(|line| line.contains("ESCAPED"));
        tally.count(worst.or(beside.last()).expect("asked at least once"));
    });
}

/// The host's table of connections is one for all.
fn connections_are_bounded(tally: &mut Tally) {
    let figure = |name: &str| {
        let text =
            fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).unwrap_or_default();
        text.trim().parse::<u64>().unwrap_or(0)
    };
    let (count, max) = (figure("nf_conntrack_count"), figure("nf_conntrack_max"));
    let line = format!("the host's table of connections: {count} of {max} entries");
    if max > 0 && count > max / 8 {
        tally.escaped(&line);
    } else {
        tally.contained(&line);
    }
}

/// Bytes in the largest folder of this name, one below `folder`.
fn largest(folder: &Path, name: &str) -> u64 {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    folders
        .map(|entry| {
            let files = fs::read_dir(entry.path().join(name))
                .into_iter()
                .flatten()
                .flatten();
            files
                .filter_map(|file| Some(file.metadata().ok()?.len()))
                .sum()
        })
        .max()
        .unwrap_or(0)
}

pub(crate) fn build(world: &World) {
    let mut tally = Tally::default();
    let (ran, slowest) = world.watching_the_victim(|| world.hostile_build("builds", "build"));
    assert_eq!(
        ran.code, 10,
        "the build fails, as its wrapper does: {ran:?}"
    );
    tally.count(&ran.stdout);
    tally.count(&ran.stderr);
    if slowest > SLOWEST {
        tally.escaped(&format!("a neighbour's time: {slowest:?} for an answer"));
    }
    println!(
        "  a neighbour's slowest answer meanwhile: {} ms",
        slowest.as_millis()
    );
    world.before.is_unchanged(&world.traps);
    tally.close("build", 224);
}

pub(crate) fn forged_output(world: &World) {
    let mut tally = Tally::default();
    for kind in forge::KINDS {
        let ran = world.hostile_build(&format!("forged-{kind}"), &format!("forge {kind}"));
        let text = format!("{}{}", ran.stdout, ran.stderr);
        let told = text.contains(&world.traps.canary_text);
        let out = Path::new("/tmp/forged-by-a-build").exists();
        if ran.code == 0 || told || out {
            tally.escaped(&format!(
                "{kind}: exit code {}, content told: {told}, file outside: {out}",
                ran.code
            ));
        } else {
            let why = text.lines().find(|line| line.starts_with('✗'));
            let why = why.unwrap_or_default();
            tally.count(&format!("{}refused {kind}: {why:.200}", crate::probe::MARK));
        }
    }
    let kept = fs::read_to_string(&world.traps.canary).expect("it is there");
    assert_eq!(kept, world.traps.canary_text);
    world.before.is_unchanged(&world.traps);
    tally.close("build, forged output", forge::KINDS.len());
}

/// Firewalls flush all tables when they are reloaded, and containers run on meanwhile.
pub(crate) fn flush(world: &World) {
    world.app("hostile");
    world.until_hostile_serves();
    let flushed = Command::new("nft")
        .args(["flush", "ruleset"])
        .status()
        .expect("nft runs");
    assert!(flushed.success());
    let back = eventually(Duration::from_secs(30), || {
        let rules = Command::new("nft")
            .args(["list", "ruleset"])
            .output()
            .expect("nft runs");
        String::from_utf8_lossy(&rules.stdout)
            .contains("table ip slipway-")
            .then_some(())
    });
    assert!(back.is_some(), "the rules did not come back");
    let mut tally = Tally::default();
    tally.count(&world.ask("hostile", "/network").expect("the probe answers"));
    assert_eq!(world.ask("victim", "/").ok().as_deref(), Some("instance 0"));
    tally.close("app, after a flush of the packet filter", 50);
}
