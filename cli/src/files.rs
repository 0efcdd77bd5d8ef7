//! Which files a push sends: the tree or archive without what is ignored, with checksums and modes.

mod archive;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod ignored;
mod pack;
mod tree;

use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use crate::error::{CliError, Exit, Outcome};

pub(crate) use pack::pack;

/// Cloud Foundry's limit of a package.
const MAX_PACKAGE_BYTES: u64 = 1 << 30;
/// What to do about files that are too many or too large.
const LESS: &str = "name what the app does not need in .cfignore (target, node_modules, …)";

/// More is refused, here as by the server.
#[derive(Debug, Clone, Copy)]
struct Limits {
    entries: usize,
    /// Of all files together.
    bytes: u64,
}

const LIMITS: Limits = Limits {
    entries: 100_000,
    bytes: 4 << 30,
};

/// What is pushed.
#[derive(Debug)]
pub(crate) struct FileSet {
    pub(crate) origin: Origin,
    /// Sorted by path, so that equal trees make equal packages.
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Folder(PathBuf),
    /// A zip, jar or war; its entries are the files.
    Archive(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative, with `/`.
    pub(crate) path: String,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only where it is empty; others exist by their files.
    Folder,
    Link {
        target: String,
    },
    File {
        size: u64,
        sha1: String,
    },
}

impl Entry {
    /// A file that the server may already have. Empty files are never asked for.
    pub(crate) fn matchable(&self) -> Option<(u64, &str)> {
        match &self.kind {
            Kind::File { size, sha1 } if *size > 0 => Some((*size, sha1)),
            _ => None,
        }
    }
}

impl FileSet {
    /// Reads a folder, or an archive.
    pub(crate) fn gather(path: &Path) -> Outcome<Self> {
        Self::gather_within(path, LIMITS)
    }

    fn gather_within(path: &Path, limits: Limits) -> Outcome<Self> {
        let info = std::fs::metadata(path).map_err(|error| {
            CliError::file(path, "read", &error)
                .exiting(Exit::Usage)
                .hint("slipway push -p FOLDER_OR_JAR")
        })?;
        let mut set = if info.is_dir() {
            tree::gather(path, limits)?
        } else {
            archive::gather(path, limits)?
        };
        if set.entries.is_empty() {
            let error = CliError::new(
                "E-FILES",
                Exit::Usage,
                format!("there is nothing to push in {}", path.display()),
            );
            return Err(error
                .hint("slipway push -p FOLDER_OR_JAR")
                .hint("look into .cfignore"));
        }
        set.entries
            .sort_by(|left, right| left.path.cmp(&right.path));
        Ok(set)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries
            .iter()
            .filter_map(Entry::matchable)
            .map(|(size, _)| size)
            .sum()
    }

    pub(crate) fn files(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| matches!(entry.kind, Kind::File { .. }))
            .count()
    }

    /// Files at the top by which buildpacks know an app, for the report.
    pub(crate) fn landmarks(&self) -> Vec<&str> {
        const NAMES: [&str; 14] = [
            "pom.xml",
            "build.gradle",
            "build.gradle.kts",
            "META-INF/MANIFEST.MF",
            "package.json",
            "requirements.txt",
            "pyproject.toml",
            "go.mod",
            "Cargo.toml",
            "Gemfile",
            "composer.json",
            "index.html",
            "Procfile",
            "project.toml",
        ];
        let has = |name: &str| {
            self.entries
                .binary_search_by(|entry| entry.path.as_str().cmp(name))
                .is_ok()
        };
        NAMES.into_iter().filter(|name| has(name)).collect()
    }
}

impl Limits {
    fn too_many(self, place: &Path) -> CliError {
        let message = format!("{} holds more than {} files", place.display(), self.entries);
        CliError::new("E-FILES", Exit::Usage, message)
            .hint(LESS)
            .hint("slipway push -p FOLDER_OR_JAR")
    }

    fn too_large(self, place: &Path) -> CliError {
        let message = format!(
            "the files in {} have more than {}, which is the most that is taken",
            place.display(),
            crate::ui::size(self.bytes)
        );
        CliError::new("E-TOOLARGE", Exit::Usage, message)
            .hint(LESS)
            .hint("slipway push -p FOLDER_OR_JAR")
    }
}

fn sha1_of(mut reader: impl std::io::Read, buffer: &mut [u8]) -> std::io::Result<(u64, String)> {
    let mut hasher = Sha1::new();
    let mut size = 0;
    loop {
        let read = reader.read(buffer)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        hasher.update(&buffer[..read]);
    }
    Ok((
        size,
        hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    ))
}

#[cfg(test)]
mod tests;
