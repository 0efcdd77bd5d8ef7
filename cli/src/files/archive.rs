//! A zip, jar or war → entries: what is in it is pushed as if it lay in a folder.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path};

use zip::ZipArchive;

use super::ignored::Ignored;
use super::tree::stays_inside;
use super::{Entry, FileSet, Kind, Limits, Origin, sha1_of};
use crate::error::{CliError, Exit, Outcome};

/// `cf` gives every file of an archive this mode, so that start scripts in it can run.
const FILE_MODE: u32 = 0o744;
const MAX_LINK_BYTES: u64 = 4096;
const MAX_IGNORE_BYTES: u64 = 1024 * 1024;

pub(super) type Archive = ZipArchive<BufReader<File>>;

pub(super) fn open(path: &Path) -> Outcome<Archive> {
    let file = File::open(path).map_err(|error| CliError::file(path, "read", &error))?;
    ZipArchive::new(BufReader::new(file)).map_err(|error| broken(path, &error))
}

pub(super) fn broken(path: &Path, error: &zip::result::ZipError) -> CliError {
    let message = format!(
        "{} is neither a folder nor a readable zip, jar or war",
        path.display()
    );
    CliError::new("E-FILES", Exit::Usage, message)
        .lines([error.to_string()])
        .hint("slipway push -p FOLDER_OR_JAR")
}

pub(super) fn gather(path: &Path, limits: Limits) -> Outcome<FileSet> {
    let mut archive = open(path)?;
    if archive.len() > limits.entries {
        return Err(limits.too_many(path));
    }
    let ignored = Ignored::new(&rules(&mut archive, path)?)?;
    let mut entries = Vec::new();
    let mut folders = Vec::new();
    let mut left = limits.bytes;
    let mut buffer = vec![0; 128 * 1024];
    for index in 0..archive.len() {
        let mut file = archive
            .by_index(index)
            .map_err(|error| broken(path, &error))?;
        let name = file
            .name()
            .map_err(|error| broken(path, &error))?
            .trim_end_matches('/')
            .to_owned();
        let inner = Path::new(&name);
        if name.is_empty()
            || !inner
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
        {
            let message = format!(
                "{} has an entry with the name '{}', which leads outside",
                path.display(),
                crate::logs::clean(&name)
            );
            return Err(CliError::new("E-FILES", Exit::Usage, message));
        }
        if ignored.covers(inner, file.is_dir()) {
            continue;
        }
        if file.is_dir() {
            folders.push(name);
        } else if file.is_symlink() {
            let mut target = String::new();
            let read = file
                .by_ref()
                .take(MAX_LINK_BYTES)
                .read_to_string(&mut target);
            if read.is_err() || !stays_inside(inner, Path::new(&target)) {
                let message = format!("{}: the link {name} leads outside", path.display());
                return Err(CliError::new("E-FILES", Exit::Usage, message));
            }
            entries.push(Entry {
                path: name,
                mode: 0o777,
                kind: Kind::Link { target },
            });
        } else {
            // What the archive says of its sizes may be wrong by any measure.
            let (size, sha1) = sha1_of(file.take(left.saturating_add(1)), &mut buffer)
                .map_err(|error| CliError::file(path, "unpack", &error))?;
            left = left
                .checked_sub(size)
                .ok_or_else(|| limits.too_large(path))?;
            entries.push(Entry {
                path: name,
                mode: FILE_MODE,
                kind: Kind::File { size, sha1 },
            });
        }
    }
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    for folder in folders {
        let prefix = format!("{folder}/");
        let next = entries.partition_point(|entry| entry.path < prefix);
        if !entries
            .get(next)
            .is_some_and(|entry| entry.path.starts_with(&prefix))
        {
            let at = entries.partition_point(|entry| entry.path < folder);
            entries.insert(
                at,
                Entry {
                    path: folder,
                    mode: 0o755,
                    kind: Kind::Folder,
                },
            );
        }
    }
    Ok(FileSet {
        origin: Origin::Archive(path.to_owned()),
        entries,
    })
}

/// The `.cfignore` at the top of the archive.
fn rules(archive: &mut Archive, path: &Path) -> Outcome<String> {
    let Some(index) = archive.index_for_name(".cfignore") else {
        return Ok(String::new());
    };
    let file = archive
        .by_index(index)
        .map_err(|error| broken(path, &error))?;
    let mut text = String::new();
    file.take(MAX_IGNORE_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| CliError::file(path, "read .cfignore in", &error))?;
    Ok(text)
}
