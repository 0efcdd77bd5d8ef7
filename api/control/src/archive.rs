//! The zip files that clients upload: looked through before anything is kept, and completed with files that the space
//! has already.
//!
//! Nothing is ever unpacked here; a build does that inside its container, with the same guards again. What is refused
//! here is refused early and with a reason.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Component, Path, PathBuf};

use model::digest::Digest;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use zip::read::ZipFile;
use zip::write::SimpleFileOptions;
use zip::{ExtraField, ZipArchive, ZipWriter};

/// What an upload may hold.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveLimits {
    pub files: usize,
    /// Bytes of all files together, unpacked. Counted while unpacking; what the headers say is not believed.
    pub bytes: u64,
}

impl ArchiveLimits {
    pub const DEFAULT: Self = Self {
        files: 100_000,
        bytes: 4 * 1024 * 1024 * 1024,
    };
}

/// Why an upload is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the upload is not a readable zip file: {0}")]
    NotAZip(String),
    #[error("the upload holds '{path}', {why}")]
    BadEntry { path: String, why: &'static str },
    #[error("the upload holds more than {0} files")]
    TooManyFiles(usize),
    #[error("the upload unpacks to more than {} MiB", .0 / (1024 * 1024))]
    TooLarge(u64),
    #[error("a file that the server had a moment ago is gone: {0}; push again")]
    MissingFile(String),
    #[error("{tried}")]
    Io {
        tried: String,
        #[source]
        source: io::Error,
    },
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile {
    pub path: String,
    /// 40 lower-case hex digits.
    pub sha1: String,
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
}

/// A file to take from an earlier package.
#[derive(Debug, Clone)]
pub struct Borrowed {
    pub package: Digest,
    /// The package's zip file.
    pub from: PathBuf,
    /// Its path there.
    pub path: String,
    /// Its path in the new package.
    pub target: String,
    pub mode: u32,
}

const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;
const MAX_LINK_BYTES: u64 = 4096;

/// Reads every byte of an archive, within limits, and returns its regular files.
pub fn inspect(path: &Path, limits: ArchiveLimits) -> Result<Vec<ArchiveFile>, ArchiveError> {
    let mut archive = open(path)?;
    let end = std::fs::metadata(path)
        .map_err(io_error(format!("look at {}", path.display())))?
        .len();
    if archive.len() > limits.files {
        return Err(ArchiveError::TooManyFiles(limits.files));
    }
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    let mut left = limits.bytes;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(not_a_zip)?;
        let path = entry_path(&entry)?;
        if !seen.insert(path.trim_end_matches('/').to_owned()) {
            return Err(bad(&path, "twice"));
        }
        // Copied into another archive, what follows it there would become its content.
        let start = entry.data_start().unwrap_or(end);
        if entry.compressed_size() > end.saturating_sub(start) {
            return Err(bad(
                &path,
                "a file that goes on beyond the end of the archive",
            ));
        }
        match entry.unix_mode().map(|mode| mode & S_IFMT) {
            Some(S_IFLNK) => check_link(&mut entry, &path)?,
            _ if entry.is_dir() => {}
            Some(0 | S_IFREG) | None => {
                let mode = entry.unix_mode().unwrap_or(0o644) & 0o7777;
                let (sha1, size) = hash(&mut entry, left).map_err(|error| match error.kind() {
                    io::ErrorKind::FileTooLarge => ArchiveError::TooLarge(limits.bytes),
                    _ => not_a_zip(error),
                })?;
                left -= size;
                files.push(ArchiveFile {
                    path,
                    sha1,
                    size,
                    mode,
                });
            }
            Some(S_IFDIR) => return Err(bad(&path, "a folder that is a file")),
            Some(_) => return Err(bad(&path, "which is a device, a pipe or a socket")),
        }
    }
    Ok(files)
}

/// Writes to `out` an archive of everything in `bits` and the borrowed files, without packing anything anew.
pub fn complete(
    bits: Option<&Path>,
    borrowed: &[Borrowed],
    out: &Path,
) -> Result<(), ArchiveError> {
    let file = File::create(out).map_err(io_error(format!("create {}", out.display())))?;
    let mut writer = ZipWriter::new(BufWriter::new(file));
    let mut names = HashSet::new();
    if let Some(bits) = bits {
        let mut archive = open(bits)?;
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(not_a_zip)?;
            names.insert(entry_path(&entry)?);
            writer.raw_copy_file(entry).map_err(not_a_zip)?;
        }
    }
    let mut sources: HashMap<&Path, ZipArchive<BufReader<File>>> = HashMap::new();
    for file in borrowed {
        if !names.insert(file.target.clone()) {
            return Err(bad(
                &file.target,
                "both in the upload and among the known files",
            ));
        }
        let source = match sources.entry(&file.from) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(
                open(&file.from).map_err(|_| ArchiveError::MissingFile(file.target.clone()))?,
            ),
        };
        let entry = source
            .by_name(&file.path)
            .map_err(|_| ArchiveError::MissingFile(file.target.clone()))?;
        let options = SimpleFileOptions::default()
            .unix_permissions(file.mode & 0o7777)
            .last_modified_time(zip::DateTime::default());
        // An entry's mode lies in its header, so a file whose mode changed is written anew.
        if entry
            .unix_mode()
            .is_some_and(|mode| mode & 0o7777 == file.mode & 0o7777)
        {
            drop(entry);
            let index = source
                .index_for_name(&file.path)
                .ok_or_else(|| ArchiveError::MissingFile(file.target.clone()))?;
            let raw = source.by_index_raw(index).map_err(not_a_zip)?;
            writer
                .raw_copy_file_rename(raw, file.target.as_str())
                .map_err(not_a_zip)?;
        } else {
            let mut entry = entry;
            writer
                .start_file(file.target.as_str(), options)
                .map_err(not_a_zip)?;
            io::copy(&mut entry, &mut writer).map_err(io_error(format!("copy {}", file.target)))?;
        }
    }
    let mut file = writer.finish().map_err(not_a_zip)?;
    io::Write::flush(&mut file).map_err(io_error(format!("write {}", out.display())))
}

/// SHA-256 and size of a file.
pub fn digest(path: &Path) -> Result<(Digest, u64), ArchiveError> {
    let mut file = File::open(path).map_err(io_error(format!("open {}", path.display())))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(io_error(format!("read {}", path.display())))?;
        if read == 0 {
            return Ok((Digest::from_bytes(hash.finalize().into()), size));
        }
        size += read as u64;
        hash.update(&buffer[..read]);
    }
}

fn open(path: &Path) -> Result<ZipArchive<BufReader<File>>, ArchiveError> {
    let file = File::open(path).map_err(io_error(format!("open {}", path.display())))?;
    ZipArchive::new(BufReader::new(file)).map_err(not_a_zip)
}

/// A relative path that stays inside, in UTF-8.
fn entry_path<R: Read>(entry: &ZipFile<'_, R>) -> Result<String, ArchiveError> {
    let name = std::str::from_utf8(entry.name_raw()).map_err(|_| {
        bad(
            &String::from_utf8_lossy(entry.name_raw()),
            "whose name is not UTF-8",
        )
    })?;
    check_path(name)?;
    // Info-ZIP keeps a name in UTF-8 beside one of an old code page. What is read here is the former, and another that is
    // kept beside that would come to light in the stored copy.
    let renamed = entry.extra_data_fields().any(|field| match field {
        ExtraField::UnicodePath(other) => {
            let other = other.clone().unwrap_valid(name.as_bytes());
            other.is_ok_and(|other| *other != *name.as_bytes())
        }
        _ => false,
    });
    if renamed {
        return Err(bad(name, "which has two names"));
    }
    Ok(name.to_owned())
}

/// Refuses paths that would leave the app's folder, or that mean different things on different systems.
pub fn check_path(name: &str) -> Result<(), ArchiveError> {
    if name.is_empty() || name.len() > 4000 {
        return Err(bad(name, "whose path is empty or too long"));
    }
    if name.contains(['\0', '\\']) {
        return Err(bad(name, "whose path holds a NUL or a backslash"));
    }
    for component in Path::new(name).components() {
        match component {
            Component::Normal(_) | Component::CurDir => {}
            Component::ParentDir => return Err(bad(name, "a path that leaves the app's folder")),
            Component::RootDir | Component::Prefix(_) => return Err(bad(name, "an absolute path")),
        }
    }
    Ok(())
}

/// A link may lead anywhere inside the app's folder.
fn check_link<R: Read>(entry: &mut ZipFile<'_, R>, path: &str) -> Result<(), ArchiveError> {
    let mut target = Vec::new();
    entry
        .by_ref()
        .take(MAX_LINK_BYTES + 1)
        .read_to_end(&mut target)
        .map_err(not_a_zip)?;
    let target =
        String::from_utf8(target).map_err(|_| bad(path, "a link whose target is not UTF-8"))?;
    if target.is_empty() || target.len() as u64 > MAX_LINK_BYTES || target.contains('\0') {
        return Err(bad(path, "a link without a sound target"));
    }
    let mut depth = i64::try_from(Path::new(path).components().count()).unwrap_or(i64::MAX) - 1;
    for component in Path::new(&target).components() {
        depth += match component {
            Component::Normal(_) => 1,
            Component::CurDir => 0,
            Component::ParentDir => -1,
            Component::RootDir | Component::Prefix(_) => {
                return Err(bad(path, "a link to an absolute path"));
            }
        };
        if depth < 0 {
            return Err(bad(path, "a link that leaves the app's folder"));
        }
    }
    Ok(())
}

/// SHA-1 and size of what a reader gives, or `FileTooLarge` beyond `limit`.
fn hash(reader: &mut impl Read, limit: u64) -> io::Result<(String, u64)> {
    let mut hash = Sha1::new();
    let mut buffer = [0; 16 * 1024];
    let mut size = 0;
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            let hex = hash
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            return Ok((hex, size));
        }
        size += read as u64;
        if size > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        hash.update(&buffer[..read]);
    }
}

fn bad(path: &str, why: &'static str) -> ArchiveError {
    ArchiveError::BadEntry {
        path: path
            .chars()
            .take(200)
            .collect::<String>()
            .escape_debug()
            .to_string(),
        why,
    }
}

fn not_a_zip(error: impl std::fmt::Display) -> ArchiveError {
    ArchiveError::NotAZip(error.to_string())
}

fn io_error(tried: String) -> impl FnOnce(io::Error) -> ArchiveError {
    move |source| ArchiveError::Io { tried, source }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn zip_of(folder: &Path, write: impl FnOnce(&mut ZipWriter<File>)) -> PathBuf {
        let path = folder.join("upload.zip");
        let mut writer = ZipWriter::new(File::create(&path).expect("create"));
        write(&mut writer);
        writer.finish().expect("finish");
        path
    }

    fn refused(write: impl FnOnce(&mut ZipWriter<File>)) -> String {
        let folder = tempfile::tempdir().expect("folder");
        let path = zip_of(folder.path(), write);
        let limits = ArchiveLimits {
            files: 10,
            bytes: 1024 * 1024,
        };
        inspect(&path, limits)
            .expect_err("must be refused")
            .to_string()
    }

    fn options() -> SimpleFileOptions {
        SimpleFileOptions::default()
    }

    #[test]
    fn hostile_archives_are_refused_with_the_reason() {
        for (name, want) in [
            ("../evil", "leaves the app's folder"),
            ("a/../../evil", "leaves the app's folder"),
            ("/etc/passwd", "absolute"),
            ("a\\..\\b", "backslash"),
        ] {
            let text = refused(|zip| zip.start_file(name, options()).expect("start"));
            assert!(text.contains(want), "{name}: {text}");
        }
        for target in ["/etc/passwd", "../x", "a/../../../x"] {
            let text = refused(|zip| zip.add_symlink("link", target, options()).expect("link"));
            assert!(text.contains("link"), "{target}: {text}");
        }
        let text = refused(|zip| {
            for index in 0..11 {
                zip.start_file(format!("f{index}"), options())
                    .expect("start");
            }
        });
        assert!(text.contains("more than 10 files"), "{text}");
        let bomb = refused(|zip| {
            zip.start_file("zeros", options()).expect("start");
            zip.write_all(&vec![0; 2 * 1024 * 1024]).expect("write");
        });
        assert!(bomb.contains("more than 1 MiB"), "{bomb}");
    }

    #[test]
    fn a_file_that_is_no_zip_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("x");
        std::fs::write(&path, "hello").expect("write");
        assert!(matches!(
            inspect(&path, ArchiveLimits::DEFAULT),
            Err(ArchiveError::NotAZip(_))
        ));
    }

    #[test]
    fn a_file_that_goes_on_beyond_the_end_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let path = zip_of(folder.path(), |zip| {
            zip.start_file("a", options()).expect("start");
        });
        // The packed size in the central directory, whose entry begins with these bytes.
        let mut bytes = std::fs::read(&path).expect("read");
        let entry = bytes
            .windows(4)
            .position(|bytes| bytes == b"PK\x01\x02")
            .expect("an entry");
        bytes[entry + 20..entry + 24].copy_from_slice(&1000u32.to_le_bytes());
        std::fs::write(&path, bytes).expect("write");
        let error = inspect(&path, ArchiveLimits::DEFAULT).expect_err("must be refused");
        assert!(error.to_string().contains("beyond the end"), "{error}");
    }

    /// Info-ZIP's field for the UTF-8 name of an entry that is called `old` otherwise.
    fn unicode_path(old: &str, name: &str) -> Box<[u8]> {
        let mut crc = flate2::Crc::new();
        crc.update(old.as_bytes());
        let crc = crc.sum().to_le_bytes();
        [&[1], &crc[..], name.as_bytes()].concat().into()
    }

    #[test]
    fn the_name_of_a_file_is_the_same_in_the_stored_copy() {
        let with_names = |names: &[(&str, &str)]| {
            let mut options = options().into_full_options();
            for (old, name) in names {
                options
                    .add_extra_field(0x7075, unicode_path(old, name), true)
                    .expect("a field");
            }
            move |zip: &mut ZipWriter<File>| zip.start_file("old", options).expect("start")
        };
        let folder = tempfile::tempdir().expect("folder");
        let bits = zip_of(folder.path(), with_names(&[("old", "new")]));
        let out = folder.path().join("out.zip");
        complete(Some(&bits), &[], &out).expect("completes");
        for path in [&bits, &out] {
            let files = inspect(path, ArchiveLimits::DEFAULT).expect("sound");
            assert_eq!(files[0].path, "new");
        }
        let text = refused(with_names(&[("old", "new"), ("new", "other")]));
        assert!(text.contains("two names"), "{text}");
    }

    #[test]
    fn a_package_is_completed_from_earlier_ones() {
        let folder = tempfile::tempdir().expect("folder");
        let old = zip_of(folder.path(), |zip| {
            zip.start_file("Main.java", options().unix_permissions(0o644))
                .expect("start");
            zip.write_all(b"class Main {}").expect("write");
            zip.start_file("run.sh", options().unix_permissions(0o644))
                .expect("start");
            zip.write_all(b"#!/bin/sh").expect("write");
        });
        let kept = folder.path().join("old.zip");
        std::fs::rename(&old, &kept).expect("rename");
        let bits = zip_of(folder.path(), |zip| {
            zip.start_file("New.java", options()).expect("start");
            zip.write_all(b"class New {}").expect("write");
        });
        let borrow = |path: &str, target: &str, mode| Borrowed {
            package: Digest::from_bytes([0; 32]),
            from: kept.clone(),
            path: path.into(),
            target: target.into(),
            mode,
        };
        let borrowed = [
            borrow("Main.java", "src/Main.java", 0o644),
            borrow("run.sh", "run.sh", 0o755),
        ];
        let out = folder.path().join("out.zip");
        complete(Some(&bits), &borrowed, &out).expect("completes");
        let mut files = inspect(&out, ArchiveLimits::DEFAULT).expect("sound");
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let shown = files
            .iter()
            .map(|file| (file.path.as_str(), file.size, file.mode))
            .collect::<Vec<_>>();
        assert_eq!(
            shown,
            [
                ("New.java", 12, 0o644),
                ("run.sh", 9, 0o755),
                ("src/Main.java", 13, 0o644)
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn accepted_paths_stay_inside(name in "[a./\\\\]{1,12}") {
            if check_path(&name).is_ok() {
                let joined = Path::new("/root").join(&name);
                let mut depth = 0i32;
                for component in joined.components().skip(2) {
                    depth += if component == Component::ParentDir { -1 } else { 1 };
                    proptest::prop_assert!(depth >= 0);
                }
                proptest::prop_assert!(joined.starts_with("/root"));
            }
        }
    }
}
