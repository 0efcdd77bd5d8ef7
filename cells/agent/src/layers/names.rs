//! Names and link targets of a layer's entries, and where they may lead.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

const MAX_PATH_BYTES: usize = 4096;
/// Absolute links are resolved inside the container, where only the stack and the home exist.
const LINK_ROOTS: [&str; 9] = [
    "home/vcap",
    "usr",
    "etc",
    "lib",
    "lib64",
    "bin",
    "sbin",
    "tmp",
    "dev/null",
];

/// The path as a name below the root, without `.` parts.
pub(super) fn relative(raw: &[u8]) -> Result<PathBuf, &'static str> {
    if raw.len() > MAX_PATH_BYTES {
        return Err("has a name longer than 4,096 bytes");
    }
    if raw.contains(&0) {
        return Err("has a name with a zero byte");
    }
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(raw)).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err("leads out of the layer by '..'"),
            Component::RootDir | Component::Prefix(_) => return Err("has an absolute name"),
        }
    }
    Ok(path)
}

/// Where a symbolic link may lead: below the layer's root, or absolutely to where the container has its stack or home.
pub(super) fn check_link(path: &Path, target: &[u8]) -> Result<(), &'static str> {
    if target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains(&0) {
        return Err("is a link with an unusable target");
    }
    let target = Path::new(OsStr::from_bytes(target));
    let out = "is a link that leads out of the layer";
    let mut depth = if target.is_absolute() {
        0
    } else {
        path.components().count() - 1
    };
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth == 0 || target.is_absolute() => return Err(out),
            Component::ParentDir => depth -= 1,
            _ => {}
        }
    }
    let allowed = |root: &str| target.starts_with(Path::new("/").join(root));
    if target.is_absolute() && !LINK_ROOTS.iter().any(|root| allowed(root)) {
        Err(out)
    } else {
        Ok(())
    }
}

pub(super) fn shown(raw: &[u8]) -> String {
    String::from_utf8_lossy(raw).chars().take(200).collect()
}
