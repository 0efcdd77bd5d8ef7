//! A host of little memory: everything that belongs to it, platform, builds and apps, lies below one control group.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{Platform, eventually};

/// What a process on the host must pass through. Its first argument is the program. In version 2 of control groups the
/// engine moves what is at the root out of the way.
const ENTER: &str =
    r#"[ -d "$ROOT/init" ] && own=/init; echo $$ >"$ROOT$own/cgroup.procs" && exec "$0" "$@""#;

/// A control group that looks like the host's first one to whoever is in it, since that lies where the host's does in a
/// mount namespace of its own, which a sleeping process keeps.
struct SmallHost {
    group: PathBuf,
    /// Where the group's hierarchy is mounted.
    root: &'static str,
    keeper: Child,
}

impl SmallHost {
    fn new(memory_bytes: u64) -> Self {
        let v1 = Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists();
        let (root, limit) = if v1 {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            ("/sys/fs/cgroup", "memory.max")
        };
        let group = Path::new(root).join(format!("small-host-{}", std::process::id()));
        fs::create_dir(&group).expect("a control group");
        fs::write(group.join(limit), memory_bytes.to_string()).expect("a limit");
        let keep = r#"echo $$ >"$GROUP/cgroup.procs" && exec unshare --mount --propagation private --cgroup \
            sh -c 'mount --bind "$GROUP" "$ROOT" && echo ready && exec sleep infinity'"#;
        let mut keeper = Command::new("sh")
            .args(["-c", keep])
            .env("GROUP", &group)
            .env("ROOT", root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut word = String::new();
        let mut said = std::io::BufReader::new(keeper.stdout.take().expect("a pipe"));
        std::io::BufRead::read_line(&mut said, &mut word).expect("a word");
        assert_eq!(word, "ready\n", "the host's control group can't be mounted");
        Self {
            group,
            root,
            keeper,
        }
    }

    /// The command that starts a program on this host.
    fn enter(&self) -> Vec<String> {
        let target = self.keeper.id().to_string();
        let root = format!("ROOT={}", self.root);
        let words = [
            "nsenter", "-t", &target, "-m", "-C", "env", &root, "sh", "-c", ENTER,
        ];
        words.map(str::to_owned).to_vec()
    }
}

impl Drop for SmallHost {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let removed = eventually(Duration::from_secs(10), || {
            let _ = fs::remove_dir(self.group.join("init"));
            fs::remove_dir(&self.group).ok()
        });
        if !std::thread::panicking() {
            assert!(removed.is_some(), "something of the host is left");
        }
    }
}

#[test]
fn one_gib_of_memory_is_enough_to_build_run_and_roll_a_java_app() {
    let host = SmallHost::new(1 << 30);
    let platform = Platform::start_through(host.enter());
    let source = |text: &str| {
        let main = crate::deploy::MAIN.replace("plain app is up", text);
        let files = [
            ("pom.xml", crate::deploy::POM),
            ("src/main/java/com/example/Main.java", main.as_str()),
        ];
        platform.app("small", &files)
    };
    for text in ["the first", "the second"] {
        let pushed = platform
            .run_in(&source(text), &["push", "small", "-m", "256M"])
            .ok();
        assert!(pushed.stdout.contains("live "), "{}", pushed.stdout);
        assert_eq!(platform.get("small", "/").status, 200);
    }
    let groups = fs::read_dir(&host.group)
        .expect("the host's group")
        .flatten();
    assert!(
        groups.into_iter().any(|entry| entry.path().is_dir()),
        "the app runs outside the host"
    );
    let logs = platform.run(&["logs", "small", "--recent"]).ok();
    assert!(logs.stdout.contains("the second"), "{}", logs.stdout);
    assert!(
        !platform.up_log().contains("started again"),
        "{}",
        platform.up_log()
    );
    drop(platform);
}
