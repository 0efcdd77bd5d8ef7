//! Unpacks a package's zip file into the app folder.
//!
//! Everything is checked before the first byte is written. Links are made last, so that no file can be written through
//! one.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use crate::zip_directory::{Directory, ENCRYPTED, Entry, ZipError};

/// As in Cloud Foundry and many file systems.
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;
pub(crate) const MAX_ENTRIES: u64 = 100_000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// The source itself is at fault; the text is for the person who pushed.
    #[error("{0}")]
    Bad(String),
    #[error("could not unpack '{}'", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File { executable: bool },
    Link,
}

/// Unpacks `package` into the empty folder `to`. The answer is the paths of all files and links, relative to `to`.
pub(crate) fn unpack(
    package: &Path,
    to: &Path,
    max_bytes: u64,
) -> Result<HashSet<PathBuf>, UnpackError> {
    let mut file = File::open(package).map_err(|source| UnpackError::Io {
        path: package.to_owned(),
        source,
    })?;
    let directory = Directory::read(&mut file, MAX_ENTRIES).map_err(|error| match error {
        ZipError::Io(source) => UnpackError::Io {
            path: package.to_owned(),
            source,
        },
        error => UnpackError::Bad(format!("the uploaded source cannot be used: {error}")),
    })?;
    let plan = plan(&directory, max_bytes).map_err(UnpackError::Bad)?;

    let mut links = Vec::new();
    let mut written = HashSet::new();
    for (entry, path, kind) in &plan {
        let target = to.join(path);
        let failed = |source| UnpackError::Io {
            path: path.clone(),
            source,
        };
        let bad = |error: ZipError| match error {
            // Damaged compressed data shows itself as an error of reading; a full disk does not.
            ZipError::Io(source) if source.kind() != io::ErrorKind::InvalidInput => {
                UnpackError::Io {
                    path: path.clone(),
                    source,
                }
            }
            error => UnpackError::Bad(format!(
                "'{}' in the uploaded source cannot be unpacked: {error}",
                path.display()
            )),
        };
        match kind {
            Kind::Folder => fs::create_dir_all(&target).map_err(failed)?,
            Kind::File { executable } => {
                make_parent(&target).map_err(failed)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                let mut out = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .open(&target)
                    .map_err(failed)?;
                entry.copy_to(&mut file, &mut out).map_err(bad)?;
                written.insert(path.clone());
            }
            Kind::Link => {
                let mut content = Vec::new();
                entry.copy_to(&mut file, &mut content).map_err(bad)?;
                let points_to = PathBuf::from(OsStr::from_bytes(&content));
                link_target(path, &points_to).map_err(UnpackError::Bad)?;
                links.push((path.clone(), points_to));
                written.insert(path.clone());
            }
        }
    }
    for (path, points_to) in links {
        let made = make_parent(&to.join(&path)).and_then(|()| symlink(points_to, to.join(&path)));
        made.map_err(|source| UnpackError::Io { path, source })?;
    }
    Ok(written)
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// What to write where, or why nothing will be.
fn plan(directory: &Directory, max_bytes: u64) -> Result<Vec<(&Entry, PathBuf, Kind)>, String> {
    let mut kinds: HashMap<PathBuf, Kind> = HashMap::new();
    let mut plan = Vec::new();
    let mut bytes = 0u64;
    for entry in &directory.entries {
        let shown = String::from_utf8_lossy(&entry.name)
            .chars()
            .take(200)
            .collect::<String>()
            .escape_debug()
            .to_string();
        let refuse = |why: &str| format!("'{shown}' in the uploaded source {why}");
        let path = entry_path(&entry.name).map_err(&refuse)?;
        let kind = entry_kind(entry).map_err(&refuse)?;
        bytes = bytes.saturating_add(entry.size);
        if bytes > max_bytes {
            return Err(format!(
                "the source unpacks to more than {} MiB, the most that is allowed",
                max_bytes / 1024 / 1024
            ));
        }
        if path.as_os_str().is_empty() {
            match kind {
                Kind::Folder => continue,
                _ => return Err(refuse("has no name")),
            }
        }
        for parent in path
            .ancestors()
            .skip(1)
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            if *kinds.entry(parent.to_owned()).or_insert(Kind::Folder) != Kind::Folder {
                return Err(refuse("lies below something that is not a folder"));
            }
        }
        match kinds.insert(path.clone(), kind) {
            None => {}
            Some(Kind::Folder) if kind == Kind::Folder => continue,
            Some(_) => return Err(refuse("is there twice")),
        }
        plan.push((entry, path, kind));
    }
    Ok(plan)
}

/// The relative path that a name means; none of its parts leads upwards.
fn entry_path(name: &[u8]) -> Result<PathBuf, &'static str> {
    if name.is_empty() || name.contains(&0) {
        return Err("has an impossible name");
    }
    if name.contains(&b'\\') {
        return Err(
            "has a backslash in its name, which means different things on different systems",
        );
    }
    if name.starts_with(b"/") {
        return Err("has an absolute path");
    }
    if name.len() > MAX_PATH
        || name
            .split(|byte| *byte == b'/')
            .any(|part| part.len() > MAX_NAME)
    {
        return Err("has too long a name");
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b".." => return Err("leads out of the source with '..'"),
            b"" | b"." => {}
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}

fn entry_kind(entry: &Entry) -> Result<Kind, &'static str> {
    const UNIX: u16 = 3;
    const LONGEST_LINK: u64 = 4095;
    if entry.flags & ENCRYPTED != 0 {
        return Err("is encrypted");
    }
    let mode = if entry.made_by >> 8 == UNIX {
        entry.external >> 16
    } else {
        0
    };
    let named_folder = entry.name.ends_with(b"/");
    match mode & 0o170_000 {
        0o120_000 if named_folder || entry.size > LONGEST_LINK => Err("is not a possible link"),
        0o120_000 => Ok(Kind::Link),
        0o040_000 => Ok(Kind::Folder),
        0o100_000 | 0 if named_folder => Ok(Kind::Folder),
        0o100_000 | 0 => Ok(Kind::File {
            executable: mode & 0o111 != 0,
        }),
        _ => Err("is a device, pipe or socket"),
    }
}

/// Whether a link stays in the source. Upward steps may only stand at its begin: there the folders are real ones, so that
/// each step is what it seems, and a way down through another link ends inside because that link does.
fn link_target(path: &Path, points_to: &Path) -> Result<(), String> {
    let refuse = |why: &str| format!("the link '{}' in the uploaded source {why}", path.display());
    let mut depth = path.components().count().saturating_sub(1);
    let mut down = false;
    for component in points_to.components() {
        match component {
            Component::RootDir | Component::Prefix(_) => {
                return Err(refuse("points to an absolute path"));
            }
            Component::ParentDir if down => {
                return Err(refuse("goes down and up again; write the direct way"));
            }
            Component::ParentDir => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| refuse("points out of the source"))?
            }
            Component::CurDir => {}
            Component::Normal(_) => down = true,
        }
    }
    let bytes = points_to.as_os_str().as_bytes();
    if bytes.is_empty() || bytes.contains(&0) {
        Err(refuse("points nowhere"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
