//! The `host` stack: which of the host's own files a container sees, all of them read-only.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Folders of `/usr` that programs and libraries live in. Sources, games and the like stay outside.
const USR: [&str; 11] = [
    "bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec", "share", "include", "local",
    "java",
];

/// Folders that are links into `/usr` on a merged system, and folders of their own on others.
const TOP: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What programs read from `/etc` that tells nothing of the host's people or secrets.
const ETC: [&str; 29] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "locale.alias",
    "locale.conf",
    "magic",
    "maven",
    "mime.types",
    "networks",
    "os-release",
    "pki/ca-trust",
    "pki/java",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "protocols",
    "rpc",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

/// Where distributions put toolchains whose configuration they keep in `/etc`, behind links.
const TOOLCHAINS: [&str; 2] = ["usr/lib/jvm", "usr/share/maven"];
/// More than any toolchain has.
const MAX_LINKS: usize = 20_000;

/// The host's files that make the stack, looked up once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostStack {
    /// Bound at the same path inside.
    pub(super) binds: Vec<PathBuf>,
    /// Links of the root folder: name and target.
    pub(super) links: Vec<(String, PathBuf)>,
}

impl HostStack {
    pub(super) fn look() -> Self {
        Self::look_below(Path::new("/"))
    }

    fn look_below(root: &Path) -> Self {
        let mut binds: Vec<PathBuf> = USR
            .iter()
            .map(|name| PathBuf::from("/usr").join(name))
            .collect();
        let mut links = Vec::new();
        for name in TOP {
            match std::fs::read_link(root.join(name)) {
                Ok(target) => links.push((name.to_owned(), target)),
                Err(_) => binds.push(Path::new("/").join(name)),
            }
        }
        let etc: BTreeSet<PathBuf> = ETC
            .iter()
            .map(|name| Path::new("/etc").join(name))
            .collect();
        let linked: BTreeSet<PathBuf> = TOOLCHAINS
            .iter()
            .flat_map(|folder| linked_etc(root, Path::new(folder)))
            .filter(|path| !etc.iter().any(|known| path.starts_with(known)))
            .map(|path| entry_or_file(&etc, path))
            .collect();
        binds.extend(etc.into_iter().chain(linked));
        binds.retain(|path| root.join(path.strip_prefix("/").unwrap_or(path)).exists());
        Self { binds, links }
    }
}

/// The whole entry of `/etc` that `path` lies in, or `path` alone where only chosen parts of that entry are shown: beside
/// the certificates lie the private keys.
fn entry_or_file(shown: &BTreeSet<PathBuf>, path: PathBuf) -> PathBuf {
    let entry: PathBuf = path.components().take(3).collect();
    if shown.iter().any(|known| known.starts_with(&entry)) {
        path
    } else {
        entry
    }
}

/// Places in `/etc` to which links below `folder` lead. A Debian JDK keeps its security settings there, for example.
fn linked_etc(root: &Path, folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.join(folder)];
    let mut budget = MAX_LINKS;
    while let Some(here) = folders.pop() {
        for entry in std::fs::read_dir(&here).into_iter().flatten().flatten() {
            let Some(left) = budget.checked_sub(1) else {
                return found;
            };
            budget = left;
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_symlink()
                && let Ok(target) = std::fs::read_link(entry.path())
                && let Some(name) = place_in_etc(root, &here.join(target))
            {
                found.insert(name);
            }
        }
    }
    found
}

/// `path` as seen from the root, if it lies in `/etc`; `..` is resolved by the text, as distributions link within `/`.
fn place_in_etc(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.strip_prefix(root).unwrap_or(path).components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            _ => {}
        }
    }
    plain.starts_with("etc").then(|| Path::new("/").join(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_jdks_links_into_etc_become_part_of_the_stack() {
        let root = tempfile::tempdir().expect("temp dir");
        let at = |path: &str| root.path().join(path);
        for folder in [
            "usr/lib/jvm/jdk/lib/security",
            "usr/bin",
            "usr/games",
            "etc/java-17-openjdk/security",
            "etc/ssl/certs",
            "etc/ssl/private",
            "etc/secret",
            "lib64",
        ] {
            std::fs::create_dir_all(at(folder)).expect("folder");
        }
        symlink("usr/bin", at("bin")).expect("link");
        symlink("/etc/java-17-openjdk/security", at("usr/lib/jvm/jdk/conf")).expect("link");
        symlink(
            "../../../../../../etc/java-17-openjdk/x",
            at("usr/lib/jvm/jdk/lib/security/x"),
        )
        .expect("link");
        symlink("../lib", at("usr/lib/jvm/jdk/lib64")).expect("link");
        // Beside what is shown of this folder lies what must not be.
        std::fs::write(at("etc/ssl/jdk.cnf"), "").expect("file");
        symlink("/etc/ssl/jdk.cnf", at("usr/lib/jvm/jdk/lib/jdk.cnf")).expect("link");
        symlink("/etc/ssl/certs/java", at("usr/lib/jvm/jdk/lib/cacerts")).expect("link");
        let stack = HostStack::look_below(root.path());
        let binds: Vec<_> = stack
            .binds
            .iter()
            .map(|path| path.to_str().expect("text"))
            .collect();
        assert_eq!(
            binds,
            [
                "/usr/bin",
                "/usr/lib",
                "/lib64",
                "/etc/ssl/certs",
                "/etc/java-17-openjdk",
                "/etc/ssl/jdk.cnf"
            ]
        );
        assert_eq!(stack.links, [("bin".to_owned(), PathBuf::from("usr/bin"))]);
    }
}
