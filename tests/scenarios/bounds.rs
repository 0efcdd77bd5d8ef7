//! What the platform keeps has bounds, and a disk that is nearly full is told in time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{PERL_APP, PERL_SERVER, Platform, eventually};

/// A file system of its own, so that filling it harms nobody. Its file is sparse: what is only reserved takes no room.
struct Volume {
    folder: TempDir,
}

impl Volume {
    fn new(size: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("sv")
            .tempdir()
            .expect("a folder");
        let volume = Self { folder };
        let image = volume.folder.path().join("image");
        fs::create_dir(volume.path()).expect("a folder");
        run("truncate", &["-s", size], &[&image]);
        run("mkfs.ext4", &["-q", "-m", "0"], &[&image]);
        run("mount", &["-o", "loop"], &[&image, &volume.path()]);
        volume
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("v")
    }

    /// Takes all but `left` bytes.
    fn fill(&self, left: u64) -> PathBuf {
        let output = Command::new("stat")
            .args(["-f", "-c", "%a %S"])
            .arg(self.path())
            .output()
            .expect("stat runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.split_whitespace().map(|number| number.parse::<u64>());
        let mut number = || numbers.next().expect("two numbers").expect("a number");
        let free = number() * number();
        let file = self.path().join("ballast");
        let bytes = free.checked_sub(left).expect("more is free").to_string();
        run("fallocate", &["-l", &bytes], &[&file]);
        file
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        if !std::thread::panicking() {
            assert!(unmounted.expect("umount runs").success());
        }
    }
}

fn run(program: &str, args: &[&str], paths: &[&Path]) {
    let output = Command::new(program).args(args).args(paths).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How many blobs there are of a kind, and their bytes.
fn blobs(platform: &Platform, kind: &str) -> (usize, u64) {
    let folder = platform.data().join("server/blobs").join(kind);
    let sizes = fs::read_dir(folder)
        .expect("the folder of blobs")
        .map(|entry| entry.expect("an entry").metadata().expect("a file").len())
        .collect::<Vec<_>>();
    (sizes.len(), sizes.iter().sum())
}

/// A mebibyte that does not compress, another for each seed.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(1 << 20);
    while bytes.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

#[test]
fn what_is_kept_of_an_app_does_not_grow_with_its_pushes_and_a_full_disk_is_refused_in_time() {
    let volume = Volume::new("8G");
    let platform = Platform::start_in(&volume.path(), &[]);
    let source = platform.app("web", PERL_APP);
    let push = |version: u64| {
        let server = PERL_SERVER.replace("instance $ENV", &format!("version {version} of $ENV"));
        fs::write(source.join("server.pl"), server).expect("a file");
        fs::write(source.join("noise"), noise(version)).expect("a file");
        platform.run_in(&source, &["push", "web", "-m", "64M", "-k", "64M"])
    };
    for version in 1..=8 {
        push(version).ok();
    }
    assert_eq!(platform.get("web", "/").body, "version 8 of 0");
    let told = platform.run(&["gc"]).ok();
    assert!(told.stdout.contains("web 5"), "{}", told.stdout);
    let (layers, bytes) = blobs(&platform, "layers");
    assert!(
        layers == 5 && bytes < 6 << 20,
        "of 8 releases with a mebibyte each, {layers} layers of {bytes} bytes are left"
    );
    let releases = platform.run(&["releases", "web"]).ok().stdout;
    assert!(
        releases.contains("v4") && !releases.contains("v3"),
        "{releases}"
    );
    platform.run(&["rollback", "web", "v4"]).ok();
    assert_eq!(platform.get("web", "/").body, "version 4 of 0");
    platform.run(&["rollback", "web", "v3"]).fails(5, &["v3"]);

    let ballast = volume.fill(200 << 20);
    push(9).fails(
        12,
        &[
            "E-DISK",
            "its disk free",
            "is left",
            "releases of 'web'",
            "slipway gc --dry-run",
        ],
    );
    let before = blobs(&platform, "layers");
    assert_eq!(
        platform.get("web", "/").body,
        "version 4 of 0",
        "the app goes on"
    );
    platform.run(&["set-env", "web", "COLOUR", "blue"]).ok();
    platform
        .run(&["restart", "web"])
        .fails(12, &["E-CAPACITY", "begins nothing new"]);
    assert_eq!(
        platform.get("web", "/").body,
        "version 4 of 0",
        "the release before goes on"
    );
    let dry = platform.run(&["gc", "--dry-run"]).ok();
    assert!(dry.stdout.contains("free of"), "{}", dry.stdout);
    assert!(blobs(&platform, "layers").0 <= before.0);

    fs::remove_file(ballast).expect("removes");
    let started = eventually(Duration::from_secs(60), || {
        (platform.get("web", "/env/COLOUR").body == "blue").then_some(())
    });
    assert!(
        started.is_some(),
        "the release that waited for room starts: {}",
        platform.run(&["app", "web"]).stdout
    );

    // Room for small things, and none for this upload of 49 MiB: it is refused before it is sent.
    let large = (20..68).flat_map(noise).collect::<Vec<_>>();
    fs::write(source.join("large"), large).expect("a file");
    let told = platform.run(&["--json", "gc", "--dry-run"]).ok().stdout;
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let floor = told["disk"]["keep_free_bytes"].as_u64().expect("bytes");
    let ballast = volume.fill(floor + (40 << 20));
    push(9).fails(12, &["E-DISK", "this upload needs about 49M", "is left"]);
    fs::remove_file(source.join("large")).expect("removes");
    fs::remove_file(ballast).expect("removes");
    push(9).ok();
    assert_eq!(platform.get("web", "/").body, "version 9 of 0");
    platform.run(&["delete", "web", "-f"]).ok();
    platform.run(&["gc"]).ok();
    assert_eq!(blobs(&platform, "layers"), (0, 0));
    assert_eq!(blobs(&platform, "packages"), (0, 0));
}
