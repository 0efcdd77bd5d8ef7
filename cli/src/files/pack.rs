//! Entries → the zip that is uploaded: in a fixed order, with fixed times, so that equal files make equal bytes.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::archive::{self, Archive};
use super::{Entry, FileSet, Kind, Origin};
use crate::error::{CliError, Outcome};

/// Packing these again costs time and gains nothing.
const PACKED: [&str; 16] = [
    "jar", "war", "zip", "gz", "tgz", "zst", "xz", "bz2", "7z", "png", "jpg", "jpeg", "gif",
    "webp", "mp4", "woff2",
];

/// Writes the chosen entries to a temporary file without a name, and says how long it is.
pub(crate) fn pack(set: &FileSet, chosen: impl Fn(&Entry) -> bool) -> Outcome<(File, u64)> {
    let failed = |error: io::Error| {
        CliError::other(format!(
            "cannot write the package to a temporary file: {error}"
        ))
    };
    let file = tempfile::tempfile().map_err(failed)?;
    let mut writer = ZipWriter::new(BufWriter::new(file)).set_auto_large_file();
    let mut source = match &set.origin {
        Origin::Folder(_) => None,
        Origin::Archive(path) => Some(archive::open(path)?),
    };
    for entry in set.entries.iter().filter(|entry| chosen(entry)) {
        let options = SimpleFileOptions::default()
            .last_modified_time(DateTime::default())
            .unix_permissions(entry.mode)
            .compression_method(method(&entry.path));
        match &entry.kind {
            Kind::Folder => writer
                .add_directory(&entry.path, options)
                .map_err(|error| failed(error.into()))?,
            Kind::Link { target } => {
                writer
                    .add_symlink(&entry.path, target, options)
                    .map_err(|error| failed(error.into()))?;
            }
            Kind::File { .. } => {
                writer
                    .start_file(&entry.path, options)
                    .map_err(|error| failed(error.into()))?;
                copy(set, entry, source.as_mut(), &mut writer)?;
            }
        }
    }
    let mut file = writer
        .finish()
        .map_err(|error| failed(error.into()))?
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    let length = file.seek(io::SeekFrom::End(0)).map_err(failed)?;
    Ok((file, length))
}

fn copy(
    set: &FileSet,
    entry: &Entry,
    source: Option<&mut Archive>,
    writer: &mut impl Write,
) -> Outcome {
    let (place, result) = match (&set.origin, source) {
        (Origin::Archive(path), Some(archive)) => {
            let mut file = archive
                .by_name(&entry.path)
                .map_err(|error| archive::broken(path, &error))?;
            (path.clone(), io::copy(&mut file, writer))
        }
        (Origin::Folder(root) | Origin::Archive(root), _) => {
            let path = root.join(&entry.path);
            let result = File::open(&path).and_then(|mut file| io::copy(&mut file, writer));
            (path, result)
        }
    };
    result
        .map(drop)
        .map_err(|error| CliError::file(&place, "pack", &error))
}

fn method(path: &str) -> CompressionMethod {
    let extension = Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    if PACKED.contains(&extension.to_ascii_lowercase().as_str()) {
        CompressionMethod::Stored
    } else {
        CompressionMethod::Deflated
    }
}
