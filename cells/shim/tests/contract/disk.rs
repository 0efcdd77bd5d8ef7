//! Disks of containers: what a limit means, and what stays of them.

use std::os::unix::fs::FileExt;
use std::path::Path;

use cells_engine::{Cache, Container, ContainerSpec, Engine};
use model::limits::Megabytes;
use model::protocol::cell::DiskLimit;

use crate::bed::{Bed, eventually, linux, within};

/// Loop devices of files below `root`. The kernel lets go of one a moment after its last user.
pub(crate) async fn loop_devices(root: &Path) -> Vec<String> {
    let devices = || {
        let root = root.display().to_string();
        let names = std::fs::read_dir("/sys/block").expect("block devices");
        let names = names.flatten().map(|entry| entry.path());
        names
            .filter_map(|path| std::fs::read_to_string(path.join("loop/backing_file")).ok())
            .filter(|file| file.starts_with(&root))
            .collect::<Vec<_>>()
    };
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    while !devices().is_empty() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    devices()
}

fn cache(bed: &Bed<impl Engine>) -> Cache {
    let folder = bed.dir("cache");
    std::fs::create_dir_all(&folder).expect("folder");
    Cache {
        folder,
        target: "/.slipway/cache".to_owned(),
        limit: Megabytes(32),
    }
}

#[test]
fn who_fills_the_disk_is_refused_by_the_kernel_and_fills_nothing_else() {
    linux(async |bed| {
        assert_eq!(bed.engine.disk_limit(), DiskLimit::Hard, "this machine can");
        let script = "echo before > small; dd if=/dev/zero of=big bs=1M count=500; echo status $?
            echo more > /tmp/more; rm big; echo again > again && echo writes again; df -m . | tail -n 1 | awk '{print $2}'
            cat /dev/zero > /tmp/big";
        let (exit, output) = bed.run("a", script).await;
        assert!(output.contains("No space left on device"), "{output}");
        let has = |line: &str| output.lines().any(|found| found == line);
        assert!(has("status 1") && has("writes again"), "{output}");
        let size: u32 = output
            .lines()
            .find_map(|line| line.parse().ok())
            .expect("a size");
        assert!((64..100).contains(&size), "{size}");
        assert!(exit.disk_full && exit.status != 0, "{exit:?}");
        assert!(exit.disk_bytes > 60 << 20, "{exit:?}");
    });
}

#[test]
fn a_disk_has_an_end_of_files_too() {
    linux(async |bed| {
        let mut spec = bed.spec(
            "a",
            "mkdir many; cd many; perl -e 'for (1 .. 100_000) { open(my $f, \">\", $_) or die \"at $_: $!\\n\" }'",
        );
        spec.limits.disk = Megabytes(16);
        let (exit, output) = bed.run_spec(spec).await;
        assert!(output.contains("No space left on device"), "{output}");
        assert!(exit.disk_full, "{exit:?}");
    });
}

#[test]
fn usage_tells_how_full_a_disk_is() {
    linux(async |bed| {
        let script = "dd if=/dev/zero of=x bs=1M count=20 2>/dev/null; echo written; sleep 1000";
        let container = bed.start(bed.spec("a", script)).await;
        bed.until_written("a", "written").await;
        eventually(async || {
            let usage = container.usage().await.expect("usage");
            let right = (20 << 20..22 << 20).contains(&usage.disk_bytes) && !usage.disk_full;
            right.then_some(()).ok_or(format!("{usage:?}"))
        })
        .await;
        container.remove().await.expect("removed");
    });
}

fn with_results(bed: &Bed<impl Engine>, name: &str, script: &str) -> ContainerSpec {
    let mut spec = bed.spec(name, script);
    spec.results = Some("/.slipway/out".to_owned());
    spec.cache = Some(cache(bed));
    spec
}

#[test]
fn results_are_read_after_the_end_and_a_cache_stays() {
    linux(async |bed| {
        let script =
            "ls /.slipway/cache; echo warm > /.slipway/cache/warm; mkdir /.slipway/out/layers
            head -c 3000000 /dev/zero > /.slipway/out/layers/one; echo done";
        let mut listed = Vec::new();
        for name in ["a", "b"] {
            let container = bed.start(with_results(&bed, name, script)).await;
            within(container.wait()).await.expect("ends");
            let results = container.results().await.expect("results");
            let size = std::fs::metadata(results.path.join("layers/one"))
                .expect("a result")
                .len();
            assert_eq!(size, 3_000_000);
            drop(results);
            listed.push(
                bed.output(name)
                    .into_iter()
                    .map(|(_, line)| line)
                    .collect::<Vec<_>>(),
            );
            container.remove().await.expect("removed");
        }
        assert_eq!(listed, [vec!["done"], vec!["warm", "done"]]);
    });
}

#[test]
fn a_full_cache_is_told_from_a_full_disk() {
    linux(async |bed| {
        let spec = with_results(&bed, "a", "head -c 100M /dev/zero > /.slipway/cache/x");
        let (exit, output) = bed.run_spec(spec).await;
        assert!(output.contains("No space left on device"), "{output}");
        assert!(exit.cache_full && !exit.disk_full, "{exit:?}");
    });
}

#[test]
fn the_exit_is_known_also_where_the_hosts_disk_is_full_by_then() {
    crate::linux::enter_new_mounts();
    crate::bed::process(async |bed| {
        let spec = bed.spec("a", "head -c 10M /dev/zero > fill; exit 3");
        let small = ["-t", "tmpfs", "-o", "size=256k", "tmpfs"];
        let mount = std::process::Command::new("mount")
            .args(small)
            .arg(&spec.dir)
            .status();
        assert!(mount.expect("mount runs").success());
        let container = bed.start(spec).await;
        let exit = within(container.wait()).await.expect("the shim tells it");
        assert_eq!(exit.status, 3);
        let lazily = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(bed.dir("a"))
            .status();
        assert!(lazily.expect("umount runs").success());
    });
}

#[test]
fn a_cache_that_a_crash_may_have_broken_begins_empty() {
    linux(async |bed| {
        let script = "ls /.slipway/cache; echo warm > /.slipway/cache/warm";
        bed.run_spec(with_results(&bed, "a", script)).await;
        // The state in the superblock, as it is while the file system is mounted.
        let image = bed.dir("cache/image");
        let file = std::fs::File::options()
            .write(true)
            .open(image)
            .expect("image");
        file.write_all_at(&[0, 0], 1024 + 0x3A).expect("written");
        let (_, output) = bed.run_spec(with_results(&bed, "b", script)).await;
        assert_eq!(output, "");
        let (_, output) = bed.run_spec(with_results(&bed, "c", script)).await;
        assert_eq!(output, "warm\n");
    });
}

#[test]
fn two_containers_never_write_one_cache() {
    linux(async |bed| {
        let container = bed
            .start(with_results(&bed, "a", "echo up; sleep 1000"))
            .await;
        let second = bed.engine.start(with_results(&bed, "b", "true")).await;
        let error = crate::bed::with_causes(&second.expect_err("the cache is taken"));
        assert!(error.contains("another build uses it"), "{error}");
        container.remove().await.expect("removed");
        bed.run_spec(with_results(&bed, "c", "true")).await;
    });
}

#[test]
fn a_killed_shim_leaves_no_disk() {
    linux(async |bed| {
        let container = bed.start(bed.spec("a", "echo up; sleep 1000")).await;
        bed.until_written("a", "up").await;
        let state = std::fs::read_to_string(bed.dir("a/state.json")).expect("state");
        let state: cells_shim::protocol::State = serde_json::from_str(&state).expect("state");
        let killed = std::process::Command::new("kill")
            .args(["-9", &state.shim_pid.to_string()])
            .status();
        assert!(killed.expect("kill runs").success());
        within(container.wait())
            .await
            .expect_err("nobody knows its end");
        container.remove().await.expect("removed");
        assert!(!bed.dir("a/scratch.img").exists());
    });
}
