//! Reads the lines of an app: opens the files of all its sets, finds the place by time, and merges.
//!
//! A query costs what it returns: files are halved, not scanned, and one block per file is in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use model::log::{LogLine, LogSource};
use model::protocol::cell::LogQuery;

use super::merge::{Cursor, Head, Merge};
use super::record::LogFile;
use super::{LogSet, Logs};

/// Most lines of one answer; log-cache's own limit is 1,000.
const MAX_LINES: u32 = 10_000;
/// Most bytes of one answer. The client goes on from the last line's time.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How often to look again when a file was rotated between two looks.
const ROTATION_TRIES: usize = 5;

/// Whether the receiver of lines wants more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    Continue,
    Stop,
}

/// Gives the lines that `query` selects to `sink`. Blocks on the disk.
pub(crate) fn read(
    logs: &Logs,
    query: &LogQuery,
    mut sink: impl FnMut(LogLine) -> Reading,
) -> io::Result<()> {
    let mut merge = Merge::new(query.descending);
    for set in logs.sets_of(query.app, query.start_ns) {
        for (source, file) in open(&set)? {
            let mut cursor = if query.descending {
                Cursor::Backward(file.backward(query.end_ns)?)
            } else {
                Cursor::Forward(file.forward(query.start_ns)?)
            };
            if let Some(record) = cursor.next()? {
                merge.push(Head {
                    record,
                    cursor,
                    source,
                    index: set.meta.index,
                });
            }
        }
    }
    let mut bytes = 0;
    for _ in 0..query.limit.min(MAX_LINES) {
        let Some(line) = merge.next(query)? else {
            break;
        };
        bytes += line.bytes.len();
        if bytes > MAX_BYTES || sink(line) == Reading::Stop {
            break;
        }
    }
    Ok(())
}

/// The bytes of the last lines of a set's container, newest first.
pub(super) fn last_output(set: &LogSet, count: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    for file in output(set)?.into_iter().rev() {
        let mut cursor = file.backward(None)?;
        while lines.len() < count {
            let Some(record) = cursor.next()? else { break };
            lines.push(record.bytes);
        }
    }
    Ok(lines)
}

/// The time of a set's last line.
pub(super) fn last_time(set: &LogSet) -> Option<i64> {
    let files = open(set).ok()?.into_iter();
    files
        .filter_map(|(_, file)| Some(file.backward(None).ok()?.next().ok()??.time_ns))
        .max()
}

/// All files of a set, older output first.
fn open(set: &LogSet) -> io::Result<Vec<(LogSource, LogFile)>> {
    let mut files: Vec<_> = output(set)?
        .into_iter()
        .map(|file| (set.meta.source.clone(), file))
        .collect();
    if let Some(file) = open_file(&set.folder.join("notes"))? {
        files.push((set.meta.notes.clone(), file));
    }
    Ok(files)
}

/// The container's output, older file first.
///
/// Between opening `current` and `previous` the writer may rotate, or the agent may move both to their last place. Then
/// one file would be missing or there twice, so this looks again until `current` is still the same file afterwards.
fn output(set: &LogSet) -> io::Result<Vec<LogFile>> {
    let mut found = Vec::new();
    for _ in 0..ROTATION_TRIES {
        found.clear();
        let mut steady = true;
        for folder in set.output_folders() {
            let current = open_file(&folder.join("current"))?;
            let previous = open_file(&folder.join("previous"))?;
            steady &= inode(&folder.join("current"))?
                == current
                    .as_ref()
                    .map(|file| number(file.file()))
                    .transpose()?;
            found.extend(previous);
            found.extend(current);
        }
        if steady {
            break;
        }
    }
    Ok(found)
}

fn open_file(path: &Path) -> io::Result<Option<LogFile>> {
    match File::open(path) {
        Ok(file) => LogFile::new(file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn inode(path: &Path) -> io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some(found.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn number(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.ino())
}

#[cfg(test)]
mod tests;
