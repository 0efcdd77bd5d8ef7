//! The `host` stack's name: a hash of what a droplet built on this host relies on.
//!
//! A droplet runs where the same name is offered. What goes in is architecture, libc, the distribution's release, and the
//! toolchains whose runtime parts a build may take over; not the kernel, which a droplet does not contain.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use model::droplet::Stack;
use sha2::{Digest as _, Sha256};

/// Reads this host's identity below `root`, which is `/` but in tests.
pub(crate) fn identify(root: &Path) -> Stack {
    let mut facts = vec![
        format!("arch {}", std::env::consts::ARCH),
        format!("libc {}", libc_version()),
    ];
    let release = fs::read_to_string(root.join("etc/os-release"));
    let release = release
        .or_else(|_| fs::read_to_string(root.join("usr/lib/os-release")))
        .unwrap_or_default();
    let keys = ["ID=", "VERSION_ID="];
    facts.extend(
        release
            .lines()
            .filter(|line| keys.iter().any(|key| line.starts_with(key)))
            .map(str::to_owned),
    );
    facts.extend(jdks(&root.join("usr/lib/jvm")));
    facts.extend(maven(&root.join("usr/share/maven/lib")));
    let hash = Sha256::digest(facts.join("\n"));
    let hex: String = hash
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Stack(format!("host-{hex}"))
}

/// Vendor and version of every JDK; several names of one JDK count once.
fn jdks(folder: &Path) -> BTreeSet<String> {
    let homes = fs::read_dir(folder).into_iter().flatten().flatten();
    let releases = homes.filter_map(|home| fs::read_to_string(home.path().join("release")).ok());
    let keys = [
        "IMPLEMENTOR=",
        "IMPLEMENTOR_VERSION=",
        "JAVA_RUNTIME_VERSION=",
        "JAVA_VERSION=",
    ];
    releases
        .map(|release| {
            let mut lines: Vec<_> = release
                .lines()
                .filter(|line| keys.iter().any(|key| line.starts_with(key)))
                .collect();
            lines.sort_unstable();
            format!("jdk {}", lines.join(" "))
        })
        .collect()
}

fn maven(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with("maven-core-"))
        .map(|name| format!("maven {name}"))
        .collect()
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "only libc knows its own version")]
fn libc_version() -> String {
    // SAFETY: returns a pointer to a static, null-terminated string.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {}", version.to_string_lossy())
}

#[cfg(not(target_env = "gnu"))]
fn libc_version() -> String {
    option_env!("CARGO_CFG_TARGET_ENV")
        .unwrap_or("unknown")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_changes_with_the_toolchain_and_not_with_its_aliases() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "etc/os-release",
            "PRETTY_NAME=\"x\"\nID=debian\nVERSION_ID=\"12\"\n",
        );
        write(
            "usr/lib/jvm/java-17/release",
            "IMPLEMENTOR=\"Debian\"\nJAVA_VERSION=\"17.0.1\"\nSOURCE=\"x\"\n",
        );
        let first = identify(root);
        assert!(
            first.0.starts_with("host-") && first.0.len() == 17,
            "{first}"
        );
        write(
            "etc/os-release",
            "PRETTY_NAME=\"y\"\nID=debian\nVERSION_ID=\"12\"\n",
        );
        write(
            "usr/lib/jvm/alias/release",
            "JAVA_VERSION=\"17.0.1\"\nIMPLEMENTOR=\"Debian\"\n",
        );
        assert_eq!(identify(root), first);
        write(
            "usr/lib/jvm/java-17/release",
            "IMPLEMENTOR=\"Debian\"\nJAVA_VERSION=\"17.0.2\"\n",
        );
        assert_ne!(identify(root), first);
    }
}
