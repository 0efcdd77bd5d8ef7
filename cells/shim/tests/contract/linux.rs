//! What only containers promise: limits, and how little the inside can see and do. Also adoption, for both engines.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use cells_engine::linux::{LinuxEngine, VCAP, probe};
use cells_engine::process::ProcessEngine;
use cells_engine::{Container, Engine, Mount, Signal};
use model::limits::Megabytes;

use crate::bed::{self, Bed, SHIM, eventually, within};

/// What is left on the machine of an engine with this folder and cgroup name. Must be called in its network namespace.
pub(crate) async fn leftovers(root: &Path, cgroup: &str) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let root = root.display().to_string();
    let mut left: Vec<String> = mounts
        .lines()
        .filter(|line| line.contains(&root))
        .map(str::to_owned)
        .collect();
    left.extend(crate::disk::loop_devices(Path::new(&root)).await);
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup")
        .expect("cgroups")
        .flatten()
    {
        let parent = hierarchy.path().join(cgroup);
        if parent.exists() {
            left.push(parent.display().to_string());
        }
    }
    let links = nlink::netlink::Connection::<nlink::netlink::Route>::new()
        .expect("netlink")
        .get_links()
        .await
        .expect("links");
    left.extend(
        links
            .iter()
            .filter_map(|link| link.name())
            .filter(|name| name.starts_with("sw"))
            .map(str::to_owned),
    );
    let tables = nlink::netlink::Connection::<nlink::netlink::Nftables>::new()
        .expect("netlink")
        .list_tables()
        .await;
    left.extend(
        tables
            .expect("tables")
            .iter()
            .map(|table| format!("table {}", table.name)),
    );
    left
}

#[test]
fn probe_finds_that_this_machine_can_do_it_and_leaves_nothing() {
    bed::in_own_network(async || {
        let root = tempfile::tempdir().expect("temp dir");
        let config = bed::linux_config(root.path(), &bed::cgroup_name());
        let (cgroup, again) = (config.cgroup.clone(), config.clone());
        probe(config)
            .await
            .unwrap_or_else(|error| panic!("{}", bed::with_causes(&error)));
        LinuxEngine::new(again)
            .await
            .expect("engine")
            .uninstall()
            .await
            .expect("uninstalls");
        assert_eq!(leftovers(root.path(), &cgroup).await, Vec::<String>::new());
    });
}

#[test]
fn the_inside_has_no_rights() {
    bed::linux(async |bed| {
        let script = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id -un; hostname; echo $PWD
            unshare -U true 2>&1; unshare -n true 2>&1; mount -t tmpfs none /tmp 2>&1; mknod /tmp/null c 1 3 2>&1
            kill -9 1; echo pid 1 survived; cat /proc/1/environ 2>&1 | head -c 100; dmesg 2>&1 | tail -n 1";
        let mut spec = bed.spec("a", script);
        spec.hostname = "inside".to_owned();
        let (exit, output) = bed.run_spec(spec).await;
        let has = |line: &str| {
            assert!(
                output.lines().any(|found| found == line),
                "no '{line}' in:\n{output}"
            )
        };
        for set in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
            has(&format!("Cap{set}:\t0000000000000000"));
        }
        has(&format!("Uid:\t{VCAP}\t{VCAP}\t{VCAP}\t{VCAP}"));
        has(&format!("Gid:\t{VCAP}\t{VCAP}\t{VCAP}\t{VCAP}"));
        has("Groups:\t ");
        has("NoNewPrivs:\t1");
        has("Seccomp:\t2");
        has("vcap");
        has("inside");
        has("/home/vcap");
        has("pid 1 survived");
        assert!(
            output.matches("not permitted").count() + output.matches("must be superuser").count()
                >= 4,
            "{output}"
        );
        assert!(
            output.contains("/proc/1/environ: Permission denied"),
            "{output}"
        );
        assert_eq!(exit.status, 0);
    });
}

#[test]
fn every_container_is_a_user_of_its_own_to_the_host_and_vcap_inside() {
    bed::linux(async |bed| {
        let layer = bed.dir("layer");
        std::fs::create_dir_all(&layer).expect("folder");
        std::fs::write(layer.join("file"), "old").expect("file");
        std::fs::create_dir_all(bed.dir("kept")).expect("folder");
        for path in [&layer, &layer.join("file"), &bed.dir("kept")] {
            std::os::unix::fs::chown(path, Some(VCAP), Some(VCAP)).expect("root");
        }
        let script = "cd; stat -c '%u %g' file .; id -u; echo new > file && cat file; touch /mnt/kept/$(hostname) && stat -c %u /mnt/kept/*
            cat /proc/self/uid_map | tr -s ' '; echo ready; sleep 1000";
        let mut users = Vec::new();
        for name in ["a", "b"] {
            let mut spec = bed.spec(name, script);
            spec.env.set("HOME", "/home/vcap");
            spec.layers = vec![layer.clone()];
            spec.mounts = vec![Mount {
                source: bed.dir("kept"),
                target: "/mnt/kept".to_owned(),
                writable: true,
            }];
            bed.start(spec).await;
            bed.until_written(name, "ready").await;
            let output: Vec<_> = bed.output(name).into_iter().map(|(_, line)| line).collect();
            assert_eq!(
                &output[..4],
                [
                    format!("{VCAP} {VCAP}"),
                    format!("{VCAP} {VCAP}"),
                    VCAP.to_string(),
                    "new".to_owned()
                ]
            );
            let state = std::fs::read_to_string(bed.dir(name).join("state.json")).expect("state");
            let state: cells_shim::protocol::State = serde_json::from_str(&state).expect("parses");
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", state.pid)).expect("alive");
            let user = status
                .lines()
                .find_map(|line| line.strip_prefix("Uid:\t"))
                .expect("a user")
                .split('\t')
                .next()
                .expect("a number")
                .to_owned();
            assert_ne!(user, VCAP.to_string());
            assert!(
                output
                    .iter()
                    .any(|line| line.trim() == format!("{VCAP} {user} 1")),
                "{output:?}"
            );
            users.push(user);
        }
        assert_ne!(users[0], users[1]);
        // What is kept from one container to the next belongs to none of them.
        for name in ["a", "b"] {
            let file = std::fs::metadata(bed.dir("kept").join(name)).expect("made");
            assert_eq!(std::os::unix::fs::MetadataExt::uid(&file), VCAP);
        }
        assert_eq!(
            std::fs::read_to_string(layer.join("file")).expect("untouched"),
            "old"
        );
    });
}

#[test]
fn where_users_cannot_be_mapped_containers_share_one_and_run_all_the_same() {
    bed::in_own_network(async || {
        let root = Arc::new(tempfile::tempdir().expect("temp dir"));
        let (cgroup, state) = (bed::cgroup_name(), root.path().join("state"));
        // An overlay cannot be mapped, as where the data folder lies in somebody else's container.
        enter_new_mounts();
        for folder in ["lower", "upper", "work", "state"] {
            std::fs::create_dir(root.path().join(folder)).expect("folder");
        }
        let at = |name: &str| root.path().join(name).display().to_string();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            at("lower"),
            at("upper"),
            at("work")
        );
        let mount = |args: &[&str]| {
            let done = Command::new(args[0]).args(&args[1..]).status();
            assert!(done.expect("runs").success(), "{args:?}");
        };
        let place = state.display().to_string();
        mount(&["mount", "-t", "overlay", "-o", &options, "overlay", &place]);
        let engine = LinuxEngine::new(bed::linux_config(root.path(), &cgroup))
            .await
            .expect("engine");
        let bed = Bed {
            engine: engine.clone(),
            root: root.clone(),
        };
        let script = "touch ~/file && stat -c %u ~/file; tr -s ' ' < /proc/self/uid_map";
        let mut spec = bed.spec("a", script);
        spec.env.set("HOME", "/home/vcap");
        let (exit, output) = bed.run_spec(spec).await;
        assert_eq!(
            (exit.status, output),
            (0, format!("{VCAP}\n 0 0 4294967295\n"))
        );
        engine.uninstall().await.expect("uninstalls");
        mount(&["umount", &place]);
    });
}

/// So that this thread's mounts are its own.
#[allow(unsafe_code, reason = "the standard library has no namespaces")]
pub(crate) fn enter_new_mounts() {
    // SAFETY: plain integers; changes this thread and those it starts only.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    let private = ["--make-rprivate", "/"];
    let done = Command::new("mount").args(private).status();
    assert!(done.expect("mount runs").success());
}

#[test]
fn only_usual_kinds_of_sockets_are_made() {
    bed::linux(async |bed| {
        // Unix, IPv4, netlink; the kernel's cryptography, virtual machines, clusters.
        let script = "perl -MSocket -e 'for (1, 2, 16, 38, 40, 30) { \
            print \"$_ \", (socket(my $s, $_, SOCK_DGRAM, 0) ? \"made\" : $!), \"\\n\" } \
            for (1, 30) { print \"pair $_ \", (socketpair(my $s, my $t, $_, SOCK_STREAM, 0) ? \"made\" : $!), \"\\n\" }'";
        let (_, output) = bed.run("a", script).await;
        let no = "Operation not permitted";
        let want = format!(
            "1 made\n2 made\n16 made\n38 {no}\n40 {no}\n30 {no}\npair 1 made\npair 30 {no}\n"
        );
        assert_eq!(output, want);
    });
}

#[test]
fn the_inside_sees_only_its_own() {
    bed::linux(async |bed| {
        let script = r#"perl -e 'opendir my $d, "/proc/self/fd"; print join(" ", "fds", sort grep { /\d/ && -e "/proc/self/fd/$_" } readdir $d), "\n"'
            cd /proc; echo processes $(ls -d [0-9]*| wc -l); echo links $(ls /sys/class/net | tr '\n' ' ')
            for path in /etc/shadow /root /home/vcap/../../boot /var/log /usr/src; do [ -e $path ] && echo "sees $path"; done
            for path in /sys/block/*/loop /sys/class/block/*/loop; do [ -e $path ] && echo "sees $(cat $path/backing_file)"; done
            wc -c < /proc/interrupts; cat /proc/self/cgroup | cut -d: -f3 | sort -u"#;
        let (_, output) = bed.run("a", script).await;
        let lines: Vec<_> = output.lines().collect();
        assert!(
            lines.contains(&"fds 0 1 2 3") || lines.contains(&"fds 0 1 2"),
            "3 is the folder itself: {output}"
        );
        let processes = lines
            .iter()
            .find_map(|line| line.strip_prefix("processes "))
            .expect("counted");
        assert!(processes.parse::<u32>().expect("a number") <= 6, "{output}");
        assert!(
            lines.iter().any(|line| line.starts_with("links eth0 lo")),
            "{output}"
        );
        assert!(!output.contains("sees"), "{output}");
        assert_eq!(
            &lines[lines.len() - 2..],
            ["0", "/"],
            "what tells of the host is empty, every cgroup is the root: {output}"
        );
    });
}

#[test]
fn only_home_and_tmp_can_be_written() {
    bed::linux(async |bed| {
        let script = "for dir in / /usr /usr/bin /etc /proc/sys/kernel /sys /sys/fs/cgroup/memory /dev /run /var; do
              touch $dir/new 2>/dev/null && echo wrote $dir; done
            for dir in /home/vcap /tmp /var/tmp /dev/shm; do touch $dir/new || echo cannot write $dir; done
            echo x > /dev/null && echo y > /dev/stdout && stat -c %u /home/vcap";
        let (_, output) = bed.run("a", script).await;
        assert_eq!(output, format!("y\n{VCAP}\n"));
    });
}

#[test]
fn lack_of_memory_is_reported_with_the_peak() {
    bed::linux(async |bed| {
        let mut spec = bed.spec(
            "a",
            "exec perl -e '$| = 1; print \"up\\n\"; my @x; push @x, \"a\" x 1_000_000 while 1'",
        );
        spec.limits.memory = Megabytes(64);
        let (exit, _) = bed.run_spec(spec).await;
        assert!(exit.oom_killed && exit.status == 137, "{exit:?}");
        // The kernel may charge a few pages beyond the limit.
        assert!(
            exit.peak_memory_bytes > 60 << 20 && exit.peak_memory_bytes <= 65 << 20,
            "{exit:?}"
        );
    });
}

#[test]
fn a_fork_bomb_hits_the_process_limit() {
    bed::linux(async |bed| {
        let mut spec = bed.spec("a", "exec perl -e 'my $n = 0; while (defined(my $p = fork)) { $p or do { sleep 1000; exit }; $n++ } print \"forked $n: $!\\n\"'");
        spec.limits.pids = 32;
        let (_, output) = bed.run_spec(spec).await;
        // The init and the command itself count too.
        assert_eq!(output, "forked 30: Resource temporarily unavailable\n");
    });
}

#[test]
fn one_container_does_not_use_up_the_hosts_terminals() {
    bed::linux(async |bed| {
        let script = r#"exec perl -e 'my @all; while (open my $one, "+<", "/dev/ptmx") { push @all, $one } print scalar @all, " then $!\n"'"#;
        let (_, output) = bed.run("a", script).await;
        assert_eq!(output, "256 then No space left on device\n");
    });
}

#[test]
fn open_files_are_limited_but_never_above_what_the_host_allows() {
    bed::linux(async |bed| {
        let mut spec = bed.spec("a", "ulimit -n; ulimit -c");
        spec.limits.open_files = 333;
        assert_eq!(bed.run_spec(spec).await.1, "333\n0\n");
        let mut spec = bed.spec("b", "ulimit -n");
        spec.limits.open_files = u64::MAX;
        let (exit, output) = bed.run_spec(spec).await;
        assert!(exit.status == 0 && output.trim() != "333", "{output}");
    });
}

#[test]
fn a_java_vm_sees_the_containers_memory_limit() {
    bed::linux(async |bed| {
        let mut spec = bed.spec("a", "exec java -XX:MaxRAMPercentage=50 -XX:+UseSerialGC -XX:+PrintFlagsFinal -version 2>&1 | grep -w MaxHeapSize");
        spec.limits.memory = Megabytes(512);
        spec.limits.pids = 256;
        let (_, output) = bed.run_spec(spec).await;
        let heap: u64 = output
            .split_ascii_whitespace()
            .nth(3)
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{output}"));
        assert!((200 << 20..=256 << 20).contains(&heap), "{output}");
    });
}

#[test]
fn java_finds_its_certificates_and_tls_works_offline() {
    bed::linux(async |bed| {
        let script = "keytool -list -cacerts -storepass changeit 2>&1 | grep -c trustedCertEntry; openssl version -d 2>/dev/null || true";
        let mut spec = bed.spec("a", script);
        spec.limits.pids = 256;
        let (_, output) = bed.run_spec(spec).await;
        let count: u32 = output
            .lines()
            .next()
            .and_then(|line| line.parse().ok())
            .unwrap_or_else(|| panic!("{output}"));
        assert!(count > 50, "{output}");
    });
}

#[test]
fn the_hosts_java_toolchain_works_inside() {
    bed::linux(async |bed| {
        let script = "mkdir src && echo 'class A { public static void main(String[] a) { System.out.println(\"compiled\"); } }' > src/A.java
            javac -d out src/A.java && java -cp out A; mvn -q -v | sed -n 1p | cut -d' ' -f1-2";
        let mut spec = bed.spec("a", script);
        spec.limits.memory = Megabytes(512);
        spec.limits.pids = 256;
        spec.env.set("HOME", "/home/vcap");
        let (exit, output) = bed.run_spec(spec).await;
        let lines: Vec<_> = output.lines().collect();
        assert!(
            exit.status == 0 && lines[0] == "compiled" && lines[1].contains("3."),
            "{output}"
        );
    });
}

#[test]
fn a_link_in_a_layer_leads_no_mount_out_of_the_container() {
    bed::linux(async |bed| {
        let layer = bed.dir("layer");
        let host = bed.dir("host");
        for folder in [&layer, &host] {
            std::fs::create_dir_all(folder).expect("folder");
        }
        std::os::unix::fs::symlink(&host, layer.join("escape")).expect("link");
        std::fs::write(bed.dir("file"), "mounted").expect("file");
        let spec = |name: &str, script: &str, target: &str| {
            let mut spec = bed.spec(name, script);
            spec.layers = vec![layer.clone()];
            spec.mounts = vec![Mount {
                source: bed.dir("file"),
                target: target.to_owned(),
                writable: false,
            }];
            spec
        };
        let harmless = spec("b", "cat harmless/file", "/home/vcap/harmless/file");
        assert_eq!(bed.run_spec(harmless).await.1, "mounted\n");

        let spec = spec("a", "true", "/home/vcap/escape/file");
        // Whether it starts does not matter; that nothing appears in the host's folder does.
        if let Ok(container) = bed.engine.start(spec).await {
            within(container.wait()).await.expect("ends");
        }
        assert_eq!(std::fs::read_dir(&host).expect("folder").count(), 0);
    });
}

#[test]
fn further_mounts_are_read_only_unless_asked_otherwise() {
    bed::linux(async |bed| {
        for name in ["fixed", "open"] {
            std::fs::create_dir_all(bed.dir(name)).expect("folder");
            std::os::unix::fs::chown(bed.dir(name), Some(VCAP), Some(VCAP)).expect("root");
        }
        let mut spec = bed.spec("a", "touch /mnt/fixed/x 2>/dev/null || echo fixed; touch /home/vcap/deep/open/x && echo open; /opt/tool");
        std::fs::copy("/bin/true", bed.dir("tool")).expect("copied");
        let mount = |name: &str, target: &str, writable| Mount {
            source: bed.dir(name),
            target: target.to_owned(),
            writable,
        };
        spec.mounts = vec![
            mount("fixed", "/mnt/fixed", false),
            mount("open", "/home/vcap/deep/open", true),
            mount("tool", "/opt/tool", false),
        ];
        let (exit, output) = bed.run_spec(spec).await;
        assert_eq!((exit.status, output.as_str()), (0, "fixed\nopen\n"));
        assert!(bed.dir("open").join("x").exists());
    });
}

#[test]
fn removal_leaves_nothing_and_the_address_comes_around_later() {
    bed::linux(async |bed| {
        let container = bed.start(bed.spec("a", "sleep 1000")).await;
        let first = container.address();
        container.remove().await.expect("removed");
        let names = std::fs::read_dir(bed.dir("a"))
            .expect("folder")
            .flatten()
            .map(|entry| entry.file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["logs"]);
        let next = bed.start(bed.spec("b", "sleep 1000")).await;
        assert_ne!(next.address(), first);
    });
}

#[test]
fn sweep_finds_containers_whose_record_is_lost() {
    bed::linux(async |bed| {
        let container = bed.start(bed.spec("a", "sleep 1000")).await;
        std::fs::remove_file(bed.root.path().join("state/containers/a.json")).expect("record");
        bed.engine.sweep(&[]).await.expect("sweeps");
        let status = within(container.wait()).await.map(|exit| exit.status);
        assert_eq!(status.expect("its shim wrote the exit"), 137);
    });
}

#[test]
fn a_shim_keeps_nothing_open_that_its_starter_left_open() {
    bed::linux(async |bed| {
        let leaked = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        assert_eq!(make_inheritable(leaked.as_raw_fd()), 0, "open across exec");
        bed.start(bed.spec("a", "sleep 1000")).await;
        let state = std::fs::read_to_string(bed.dir("a").join("state.json")).expect("state");
        let state: cells_shim::protocol::State = serde_json::from_str(&state).expect("parses");
        let socket =
            std::fs::read_link(format!("/proc/self/fd/{}", leaked.as_raw_fd())).expect("open");
        for pid in [state.shim_pid, state.pid] {
            let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
                .expect("alive")
                .flatten();
            let open: Vec<_> = open
                .filter_map(|entry| std::fs::read_link(entry.path()).ok())
                .collect();
            assert!(!open.is_empty() && !open.contains(&socket), "{open:?}");
        }
    });
}

/// Makes a descriptor survive exec, and returns its flags.
#[allow(
    unsafe_code,
    reason = "the standard library opens everything close-on-exec"
)]
fn make_inheritable(fd: i32) -> i32 {
    // SAFETY: plain integers on an open descriptor.
    unsafe {
        libc::fcntl(fd, libc::F_SETFD, 0);
        libc::fcntl(fd, libc::F_GETFD)
    }
}

#[test]
fn a_mount_that_cannot_be_made_is_named_and_leaves_nothing() {
    bed::linux(async |bed| {
        for attempt in 0..5 {
            let mut spec = bed.spec(&format!("a{attempt}"), "true");
            let source = bed.dir("missing");
            spec.mounts = vec![Mount {
                source,
                target: "/opt/tool".to_owned(),
                writable: false,
            }];
            let error = bed
                .engine
                .start(spec)
                .await
                .expect_err("refused")
                .to_string();
            assert!(
                error.contains("/opt/tool") && error.contains("No such file"),
                "{error}"
            );
        }
        assert!(bed.engine.adopt().await.expect("listed").is_empty());
    });
}

#[test]
fn a_container_dies_with_its_shim() {
    bed::linux(async |bed| {
        let container = bed.start(bed.spec("a", "echo up; sleep 1000")).await;
        let state = std::fs::read_to_string(bed.dir("a").join("state.json")).expect("state");
        let state: cells_shim::protocol::State = serde_json::from_str(&state).expect("parses");
        kill_hard(state.shim_pid);
        assert!(
            within(container.wait()).await.is_err(),
            "nobody knows how it ended"
        );
        eventually(async || {
            if state.init_is_alive() {
                Err(format!("{state:?}"))
            } else {
                Ok(())
            }
        })
        .await;
    });
}

#[test]
fn what_a_killed_shim_leaves_of_a_plain_process_goes_with_it() {
    bed::process(async |bed| {
        let script = "sleep 1000 & echo $! > child; echo up; wait";
        let container = bed.start(bed.spec("a", script)).await;
        bed.until_written("a", "up").await;
        let child = std::fs::read_to_string(bed.dir("a/home/child")).expect("written");
        let child = child.trim().parse().expect("a pid");
        let started = cells_shim::protocol::start_time(child).expect("it runs");
        let state = std::fs::read_to_string(bed.dir("a/state.json")).expect("state");
        let state: cells_shim::protocol::State = serde_json::from_str(&state).expect("parses");
        kill_hard(state.shim_pid);
        within(container.remove()).await.expect("removed");
        eventually(async || match cells_shim::protocol::start_time(child) {
            Some(start) if start == started => Err(format!("{child} still runs")),
            _ => Ok(()),
        })
        .await;
    });
}

#[allow(
    unsafe_code,
    reason = "the standard library cannot signal a process by its pid"
)]
fn kill_hard(pid: i32) {
    // SAFETY: plain integers.
    assert_eq!(
        unsafe { libc::kill(pid, libc::SIGKILL) },
        0,
        "{}",
        std::io::Error::last_os_error()
    );
}

// Adoption. Each test plays two parts: itself, and in a second process the agent that is killed.

const PART: &str = "CONTRACT_STARTER_FOLDER";
const CGROUP: &str = "CONTRACT_STARTER_CGROUP";
const SCRIPT: &str =
    "trap 'echo bye; exit 9' TERM; i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done";

#[test]
fn a_container_outlives_a_killed_agent() {
    if let Ok(folder) = std::env::var(PART) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let cgroup = std::env::var(CGROUP).expect("given");
            let engine = LinuxEngine::new(bed::linux_config(folder.as_ref(), &cgroup))
                .await
                .expect("engine");
            start_and_hang(engine, folder.as_ref()).await;
        });
        return;
    }
    bed::in_own_network(async || {
        let root = Arc::new(tempfile::tempdir().expect("temp dir"));
        let cgroup = bed::cgroup_name();
        kill_a_starter(
            "linux::a_container_outlives_a_killed_agent",
            root.path(),
            &cgroup,
        )
        .await;
        let engine = LinuxEngine::new(bed::linux_config(root.path(), &cgroup))
            .await
            .expect("engine");
        adopted_runs_on(Bed {
            engine: engine.clone(),
            root: root.clone(),
        })
        .await;
        engine.uninstall().await.expect("uninstalls");
        assert_eq!(leftovers(root.path(), &cgroup).await, Vec::<String>::new());
    });
}

#[test]
fn a_plain_process_outlives_a_killed_agent() {
    if let Ok(folder) = std::env::var(PART) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let engine =
                ProcessEngine::new(&Path::new(&folder).join("state"), SHIM.into()).expect("engine");
            start_and_hang(engine, folder.as_ref()).await;
        });
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let root = Arc::new(tempfile::tempdir().expect("temp dir"));
        kill_a_starter(
            "linux::a_plain_process_outlives_a_killed_agent",
            root.path(),
            "",
        )
        .await;
        let engine = ProcessEngine::new(&root.path().join("state"), SHIM.into()).expect("engine");
        adopted_runs_on(Bed { engine, root }).await;
    });
}

async fn start_and_hang<E: Engine>(engine: E, folder: &Path) {
    let bed = Bed {
        engine,
        root: Arc::new(tempfile::tempdir().expect("temp dir")),
    };
    let mut spec = bed.spec("a", SCRIPT);
    // The folder belongs to the other part, which outlives this one.
    spec.dir = folder.join("a");
    std::fs::create_dir_all(&spec.dir).expect("folder");
    if bed.is_process() {
        spec.cwd = spec
            .dir
            .join(cells_engine::process::HOME)
            .display()
            .to_string();
    }
    bed.start(spec).await;
    std::fs::write(folder.join("started"), "").expect("marker");
    std::future::pending::<()>().await;
}

async fn kill_a_starter(test: &str, root: &Path, cgroup: &str) {
    let mut starter = Command::new(std::env::current_exe().expect("this test"))
        .args([test, "--exact", "--nocapture"])
        .env(PART, root)
        .env(CGROUP, cgroup)
        .stdout(Stdio::null())
        .spawn()
        .expect("spawns");
    eventually(async || {
        if let Ok(Some(status)) = starter.try_wait() {
            panic!("the starter ended: {status}");
        }
        if root.join("started").exists() {
            Ok(())
        } else {
            Err("not started".to_owned())
        }
    })
    .await;
    starter.kill().expect("killed");
    starter.wait().expect("reaped");
}

async fn adopted_runs_on<E: Engine>(bed: Bed<E>) {
    let adopted = bed.engine.adopt().await.expect("listed");
    let [container] = adopted.as_slice() else {
        panic!("{}", adopted.len())
    };
    let before = bed.output("a").len();
    // Its output goes on, its address is known, it can be asked to end, and how it ended is known.
    eventually(async || {
        let now = bed.output("a").len();
        if now > before + 3 {
            Ok(())
        } else {
            Err(format!("{now} lines after {before}"))
        }
    })
    .await;
    assert!(container.port() > 0);
    container.signal(Signal::Terminate).await.expect("sent");
    assert_eq!(within(container.wait()).await.expect("ends").status, 9);
    let numbers = bed
        .output("a")
        .into_iter()
        .filter_map(|(_, line)| line.parse::<usize>().ok());
    assert!(
        numbers.enumerate().all(|(at, number)| number == at + 1),
        "no line was lost"
    );
    bed.until_written("a", "bye").await;
    container.remove().await.expect("removed");
}
