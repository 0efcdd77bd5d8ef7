//! A folder → entries.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::ignored::Ignored;
use super::{Entry, FileSet, Kind, Limits, Origin, sha1_of};
use crate::error::{CliError, Exit, Outcome};

const MAX_DEPTH: usize = 100;

pub(super) fn gather(folder: &Path, limits: Limits) -> Outcome<FileSet> {
    let root = folder
        .canonicalize()
        .map_err(|error| CliError::file(folder, "read", &error))?;
    let rules_path = root.join(".cfignore");
    let rules = match fs::read_to_string(&rules_path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(CliError::file(&rules_path, "read", &error)),
    };
    let mut walk = Walk {
        root: root.clone(),
        ignored: Ignored::new(&rules)?,
        entries: vec![],
        limits,
        bytes: 0,
        buffer: vec![0; 128 * 1024],
    };
    walk.folder(Path::new(""), 0)?;
    Ok(FileSet {
        origin: Origin::Folder(root),
        entries: walk.entries,
    })
}

struct Walk {
    root: PathBuf,
    ignored: Ignored,
    entries: Vec<Entry>,
    limits: Limits,
    /// Of the files so far.
    bytes: u64,
    buffer: Vec<u8>,
}

impl Walk {
    /// Whether anything in the folder is pushed.
    fn folder(&mut self, relative: &Path, depth: usize) -> Outcome<bool> {
        let path = self.root.join(relative);
        if depth > MAX_DEPTH {
            let message = format!("{} lies more than {MAX_DEPTH} folders deep", path.display());
            return Err(CliError::new("E-FILES", Exit::Usage, message).hint("name it in .cfignore"));
        }
        let unreadable = |path: &Path, error: &io::Error| {
            CliError::file(path, "read", error).hint("name it in .cfignore")
        };
        let mut any = false;
        for item in fs::read_dir(&path).map_err(|error| unreadable(&path, &error))? {
            let item = item.map_err(|error| unreadable(&path, &error))?;
            let inner = relative.join(item.file_name());
            let full = item.path();
            // Of the link itself, not of what it leads to.
            let info = item.metadata().map_err(|error| unreadable(&full, &error))?;
            let covered = self.ignored.covers(&inner, info.is_dir());
            if covered && !(info.is_dir() && self.ignored.may_take_back()) {
                continue;
            }
            if info.is_dir() {
                let filled = self.folder(&inner, depth + 1)?;
                if !filled && !covered {
                    self.push(&inner, 0o755, Kind::Folder)?;
                }
                any |= filled || !covered;
                continue;
            }
            any = true;
            let mode = info.permissions().mode() & 0o777 | 0o600;
            if info.is_symlink() {
                let target = fs::read_link(&full).map_err(|error| unreadable(&full, &error))?;
                let target = self.inside(&inner, &target)?;
                self.push(&inner, mode, Kind::Link { target })?;
            } else if info.is_file() {
                // Before the file is read, which takes long where it is large.
                self.bytes = self.bytes.saturating_add(info.len());
                if self.bytes > self.limits.bytes {
                    return Err(self.limits.too_large(&self.root));
                }
                let file = fs::File::open(&full).map_err(|error| unreadable(&full, &error))?;
                let (size, sha1) =
                    sha1_of(file, &mut self.buffer).map_err(|error| unreadable(&full, &error))?;
                self.push(&inner, mode, Kind::File { size, sha1 })?;
            } else {
                let message = format!("{} is neither file, folder nor link", full.display());
                return Err(
                    CliError::new("E-FILES", Exit::Usage, message).hint("name it in .cfignore")
                );
            }
        }
        Ok(any)
    }

    fn push(&mut self, relative: &Path, mode: u32, kind: Kind) -> Outcome {
        let Some(path) = relative.to_str() else {
            let message = format!(
                "the name {} is not UTF-8",
                self.root.join(relative).display()
            );
            return Err(CliError::new("E-FILES", Exit::Usage, message)
                .hint("rename it, or name it in .cfignore"));
        };
        if self.entries.len() >= self.limits.entries {
            return Err(self.limits.too_many(&self.root));
        }
        self.entries.push(Entry {
            path: path.to_owned(),
            mode,
            kind,
        });
        Ok(())
    }

    /// The link's target, which must stay inside what is pushed: outside it would lead elsewhere, or nowhere.
    fn inside(&self, link: &Path, target: &Path) -> Outcome<String> {
        match target.to_str() {
            Some(text) if stays_inside(link, target) => Ok(text.to_owned()),
            _ => {
                let message = format!(
                    "the link {} leads outside what is pushed, to {}",
                    link.display(),
                    target.display()
                );
                Err(CliError::new("E-FILES", Exit::Usage, message)
                    .hint("replace it by the file, or name it in .cfignore"))
            }
        }
    }
}

pub(super) fn stays_inside(link: &Path, target: &Path) -> bool {
    use std::path::Component;
    let mut depth = link.components().count() as i64 - 1;
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    true
}
