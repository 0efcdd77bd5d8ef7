//! Writes a layer: a reproducible tar, hashed while it is compressed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use model::digest::Digest;
use model::droplet::{Layer, LayerKind};
use sha2::{Digest as _, Sha256};

/// 1980-01-01T00:00:01Z, as Cloud Native Buildpacks have it: early enough never to be news, late enough for zip's epoch.
pub(crate) const LAYER_TIME: u64 = 315_532_801;
/// `vcap`, as in Cloud Foundry.
const OWNER: u64 = 2000;
const ZSTD_LEVEL: i32 = 3;
/// As many as a cell unpacks.
const MAX_FILES: usize = 200_000;

/// Writes `paths` of the home folder but the files `except`, with all they hold and the folders they lie in, to `out/<hex diff id>.tar.zst`.
pub(crate) fn write(
    home: &Path,
    kind: LayerKind,
    paths: &[PathBuf],
    except: &[PathBuf],
    out: &Path,
) -> io::Result<Layer> {
    let mut entries = Vec::new();
    for path in paths {
        let parents = path
            .ancestors()
            .skip(1)
            .filter(|parent| !parent.as_os_str().is_empty());
        entries.extend(parents.map(Path::to_owned));
        collect(home, path.clone(), &mut entries)?;
    }
    entries.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    entries.dedup();
    entries.retain(|entry| !except.contains(entry));

    let unfinished = out.join("layer.part");
    let file = Counting {
        inner: BufWriter::with_capacity(256 * 1024, File::create(&unfinished)?),
        count: 0,
    };
    let hashing = Hashing {
        inner: zstd::Encoder::new(file, ZSTD_LEVEL)?,
        hash: Sha256::new(),
        count: 0,
    };
    let mut tar = tar::Builder::new(hashing);
    for path in &entries {
        append(&mut tar, home, path)?;
    }
    let hashing = tar.into_inner()?;
    let mut file = hashing.inner.finish()?;
    file.flush()?;
    let diff_id = Digest::from_bytes(hashing.hash.finalize().into());
    fs::rename(&unfinished, archive_path(out, &diff_id))?;
    Ok(Layer {
        kind,
        diff_id,
        size: hashing.count,
        compressed_size: file.count,
    })
}

pub(crate) fn archive_path(out: &Path, diff_id: &Digest) -> PathBuf {
    out.join(format!("{}.tar.zst", diff_id.hex()))
}

fn collect(home: &Path, path: PathBuf, entries: &mut Vec<PathBuf>) -> io::Result<()> {
    if entries.len() >= MAX_FILES {
        return Err(io::Error::other("the layer has more than 200,000 files"));
    }
    let is_folder = fs::symlink_metadata(home.join(&path))?.is_dir();
    entries.push(path.clone());
    if is_folder {
        for entry in fs::read_dir(home.join(&path))? {
            collect(home, path.join(entry?.file_name()), entries)?;
        }
    }
    Ok(())
}

/// Sockets, pipes and devices that a build left behind mean nothing elsewhere and are passed over.
fn append(tar: &mut tar::Builder<impl Write>, home: &Path, path: &Path) -> io::Result<()> {
    let from = home.join(path);
    let meta = fs::symlink_metadata(&from)?;
    let mut header = tar::Header::new_gnu();
    header.set_mtime(LAYER_TIME);
    header.set_uid(OWNER);
    header.set_gid(OWNER);
    header.set_size(0);
    if meta.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        tar.append_data(&mut header, path.join(""), io::empty())
    } else if meta.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        tar.append_link(&mut header, path, fs::read_link(&from)?)
    } else if meta.is_file() {
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(if meta.permissions().mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        });
        header.set_size(meta.len());
        tar.append_data(&mut header, path, File::open(&from)?)
    } else {
        Ok(())
    }
}

struct Counting<W> {
    inner: W,
    count: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
    count: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(folder: &Path, reversed: bool) {
        let long = format!("deps/java/{}", "x".repeat(150));
        let mut files = [
            "deps/java/b.jar",
            "deps/java/a/run",
            "deps/java-x",
            long.as_str(),
        ];
        if reversed {
            files.reverse();
        }
        for file in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
            fs::write(&path, file).expect("written");
            let mode = if file.ends_with("run") { 0o711 } else { 0o600 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        }
        symlink("a/run", folder.join("deps/java/link")).expect("linked");
        let _socket =
            std::os::unix::net::UnixListener::bind(folder.join("deps/java/socket")).expect("bound");
    }

    #[test]
    fn the_same_files_make_the_same_layer_wherever_and_whenever_they_lie() {
        let (first, second) = (
            tempfile::tempdir().expect("folder"),
            tempfile::tempdir().expect("folder"),
        );
        tree(first.path(), false);
        tree(second.path(), true);
        let paths = [PathBuf::from("deps/java")];
        let [one, two] = [&first, &second].map(|home| {
            let layer = write(
                home.path(),
                LayerKind::Dependencies,
                &paths,
                &[],
                home.path(),
            )
            .expect("written");
            (
                fs::read(archive_path(home.path(), &layer.diff_id)).expect("read"),
                layer,
            )
        });
        assert_eq!(one, two);
        let (compressed, layer) = one;
        let tar = zstd::decode_all(compressed.as_slice()).expect("zstd");
        assert_eq!(
            (compressed.len() as u64, tar.len() as u64),
            (layer.compressed_size, layer.size)
        );
        assert_eq!(
            Digest::from_bytes(Sha256::digest(&tar).into()),
            layer.diff_id
        );

        let mut archive = tar::Archive::new(tar.as_slice());
        let shown: Vec<_> = archive
            .entries()
            .expect("a tar")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let header = entry.header();
                assert_eq!(
                    (header.uid().ok(), header.gid().ok(), header.mtime().ok()),
                    (Some(2000), Some(2000), Some(LAYER_TIME))
                );
                let path = entry.path().expect("a path").to_string_lossy().into_owned();
                (path, header.mode().expect("a mode"))
            })
            .collect();
        let long = format!("deps/java/{}", "x".repeat(150));
        let want = [
            ("deps/", 0o755),
            ("deps/java/", 0o755),
            ("deps/java/a/", 0o755),
            ("deps/java/a/run", 0o755),
            ("deps/java/b.jar", 0o644),
            ("deps/java/link", 0o777),
            (long.as_str(), 0o644),
        ];
        assert_eq!(shown, want.map(|(path, mode)| (path.to_owned(), mode)));
    }
}
