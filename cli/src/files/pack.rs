//! Entries → the zip that is uploaded: in a fixed order, with fixed times, so that equal files make equal bytes.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::archive::{self, Archive};
use super::{Entry, FileSet, Kind, LESS, MAX_PACKAGE_BYTES, Origin};
use crate::error::{CliError, Exit, Outcome};
use crate::ui::size;

/// Packing these again costs time and gains nothing.
const PACKED: [&str; 16] = [
    "jar", "war", "zip", "gz", "tgz", "zst", "xz", "bz2", "7z", "png", "jpg", "jpeg", "gif",
    "webp", "mp4", "woff2",
];

/// Writes the chosen entries to a temporary file without a name, and says how long it is.
pub(crate) fn pack(set: &FileSet, chosen: impl Fn(&Entry) -> bool) -> Outcome<(File, u64)> {
    pack_within(set, chosen, MAX_PACKAGE_BYTES)
}

pub(super) fn pack_within(
    set: &FileSet,
    chosen: impl Fn(&Entry) -> bool,
    limit: u64,
) -> Outcome<(File, u64)> {
    let failed = |error: io::Error| unwritten(&error, limit);
    let file = tempfile::tempfile().map_err(failed)?;
    let package = Package {
        file: BufWriter::new(file),
        at: 0,
        limit,
        failed: false,
    };
    let mut writer = ZipWriter::new(package).set_auto_large_file();
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
                copy(set, entry, source.as_mut(), &mut writer, limit)?;
            }
        }
    }
    let mut file = writer
        .finish()
        .map_err(|error| failed(error.into()))?
        .file
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    let length = file.seek(io::SeekFrom::End(0)).map_err(failed)?;
    Ok((file, length))
}

/// The temporary file, which takes at most `limit` bytes. Once it has failed it takes everything and keeps nothing: the
/// zip's writer ends the zip also when it is dropped, and tells stderr if it cannot.
struct Package {
    file: BufWriter<File>,
    at: u64,
    limit: u64,
    failed: bool,
}

impl Write for Package {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Ok(bytes.len());
        }
        let result = if self.at + bytes.len() as u64 > self.limit {
            Err(io::ErrorKind::FileTooLarge.into())
        } else {
            self.file.write(bytes)
        };
        match &result {
            Ok(written) => self.at += *written as u64,
            Err(error) => self.failed = error.kind() != io::ErrorKind::Interrupted,
        }
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.failed {
            return Ok(());
        }
        self.file.flush()
    }
}

impl Seek for Package {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

fn unwritten(error: &io::Error, limit: u64) -> CliError {
    // The package's own limit; what the system says has a number, or another kind.
    if error.kind() == io::ErrorKind::FileTooLarge && error.raw_os_error().is_none() {
        let message = format!(
            "the files to send have more than {} packed, which is the most that is taken",
            size(limit)
        );
        return CliError::new("E-TOOLARGE", Exit::Usage, message).hint(LESS);
    }
    let place = std::env::temp_dir();
    CliError::file(&place, "write the package to a temporary file in", error)
        .hint("TMPDIR=/a/folder/with/room slipway push")
}

/// Of what is written to; no file that is read fails like this.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), FileTooLarge | QuotaExceeded | StorageFull)
}

fn copy(
    set: &FileSet,
    entry: &Entry,
    source: Option<&mut Archive>,
    writer: &mut impl Write,
    limit: u64,
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
    result.map(drop).map_err(|error| {
        if is_full(&error) {
            unwritten(&error, limit)
        } else {
            CliError::file(&place, "pack", &error)
        }
    })
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
