//! Finished layers that the next build of the same app can use as they are.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use model::digest::Digest;
use model::droplet::Layer;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A folder of layer archives by key. Everything in it can be made again, so whatever looks wrong counts as absent.
#[derive(Debug, Clone)]
pub struct LayerCache {
    folder: PathBuf,
}

/// A finished layer in the cache.
#[derive(Debug, Clone)]
pub struct CachedLayer {
    pub layer: Layer,
    pub archive: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Record {
    layer: Layer,
    archive_digest: Digest,
}

impl LayerCache {
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The layer stored under `key`, if its archive is still what was stored.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<CachedLayer> {
        let (record, archive) = self.paths(key);
        let record: Record = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
        let intact = fs::metadata(&archive).ok()?.len() == record.layer.compressed_size
            && file_digest(&archive).ok()? == record.archive_digest;
        intact.then_some(CachedLayer {
            layer: record.layer,
            archive,
        })
    }

    /// Keeps a copy of `archive`, the zstd form of `layer`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn store(&self, key: &str, layer: &Layer, archive: &Path) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let (record_path, archive_path) = self.paths(key);
        let unfinished = archive_path.with_extension("part");
        fs::copy(archive, &unfinished)?;
        let record = Record {
            layer: layer.clone(),
            archive_digest: file_digest(&unfinished)?,
        };
        fs::rename(&unfinished, &archive_path)?;
        fs::write(
            record_path,
            serde_json::to_vec(&record).map_err(io::Error::other)?,
        )
    }

    /// Removes every layer but those under `keys`.
    ///
    /// # Errors
    /// The folder cannot be read, or a file in it not removed.
    pub fn keep_only(&self, keys: &[String]) -> io::Result<()> {
        let kept: Vec<PathBuf> = keys
            .iter()
            .flat_map(|key| <[PathBuf; 2]>::from(self.paths(key)))
            .collect();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if !kept.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Keys are hashed so that any text makes a file name.
    fn paths(&self, key: &str) -> (PathBuf, PathBuf) {
        let name = Digest::from_bytes(Sha256::digest(key).into()).hex();
        (
            self.folder.join(format!("{name}.json")),
            self.folder.join(format!("{name}.tar.zst")),
        )
    }
}

fn file_digest(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hash) = (fs::File::open(path)?, Sha256::new());
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            count => hash.update(&chunk[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::droplet::LayerKind;

    use super::*;

    #[test]
    fn a_damaged_archive_counts_as_absent_and_others_are_dropped() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let archive = folder.path().join("archive");
        fs::write(&archive, b"layer").expect("written");
        let cache = LayerCache::new(folder.path().join("layers"));
        cache.keep_only(&[]).expect("an absent folder is empty");
        let layer = Layer {
            kind: LayerKind::Runtime,
            diff_id: Digest::from_bytes([1; 32]),
            size: 9,
            compressed_size: 5,
        };
        for key in ["a/../b", "c"] {
            assert!(cache.find(key).is_none());
            cache.store(key, &layer, &archive).expect("stored");
            assert_eq!(cache.find(key).expect("present").layer, layer);
        }
        cache.keep_only(&["c".into()]).expect("dropped");
        assert!(cache.find("a/../b").is_none());
        fs::write(cache.find("c").expect("kept").archive, b"LAYER").expect("damaged");
        assert!(cache.find("c").is_none());
    }
}
