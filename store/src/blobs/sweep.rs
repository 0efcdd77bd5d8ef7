//! How blobs go: those that no row names any more, and that nobody is about to name.
//!
//! Two things keep a blob that has no row yet. A *hold* is for this process's own work between writing a blob and
//! committing the row: a held blob is never removed. A *claim* is for a build, which learns that a layer need not be sent
//! and names it later: it renews the blob's time, and a sweep removes nothing that is younger than the oldest build
//! under way. Both are taken under one lock with the removal, so that a blob is seen either as kept or as gone.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use model::digest::Digest;
use model::protocol::cell::{layer_blob, package_blob};

use super::{Blobs, FOLDERS};
use crate::error::{Error, Result};

/// Who needs which blob although no row names it yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Holds(Arc<Mutex<HashMap<String, usize>>>);

impl Holds {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().expect("no panic while held")
    }
}

/// Keeps blobs from being swept until it is dropped.
#[derive(Debug)]
pub struct Hold {
    holds: Holds,
    names: Vec<String>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut holds = self.holds.lock();
        for name in &self.names {
            if let Some(count) = holds.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    holds.remove(name);
                }
            }
        }
    }
}

/// What a folder of blobs holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobKind {
    Layer,
    Package,
}

impl BlobKind {
    pub const ALL: [Self; 2] = [Self::Layer, Self::Package];

    #[must_use]
    pub fn blob(self, digest: &Digest) -> String {
        match self {
            Self::Layer => layer_blob(digest),
            Self::Package => package_blob(digest),
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Layer => FOLDERS[0],
            Self::Package => FOLDERS[1],
        }
    }

    fn digest(self, file: &str) -> Option<Digest> {
        let hex = match self {
            Self::Layer => file.strip_suffix(".tar.zst")?,
            Self::Package => file.strip_suffix(".zip")?,
        };
        format!("sha256:{hex}").parse().ok()
    }
}

/// What a sweep took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub blobs: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.blobs += other.blobs;
        self.bytes += other.bytes;
    }
}

impl Blobs {
    /// An unfinished upload that has not grown for so long is no upload any more.
    const STALE: Duration = Duration::from_secs(6 * 3600);

    /// Keeps these blobs, whether they are there already or not.
    #[must_use]
    pub fn hold(&self, names: impl IntoIterator<Item = String>) -> Hold {
        let names = names.into_iter().collect::<Vec<_>>();
        let mut holds = self.holds.lock();
        for name in &names {
            *holds.entry(name.clone()).or_default() += 1;
        }
        drop(holds);
        Hold {
            holds: self.holds.clone(),
            names,
        }
    }

    /// The blob's size where it is there, and from now on it counts as just written.
    pub async fn claim(&self, name: &str) -> Result<Option<u64>> {
        let (path, holds) = (self.local_path(name), self.holds.clone());
        let claim = move || -> std::io::Result<Option<u64>> {
            let _lock = holds.lock();
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(other) => return Err(other),
            };
            file.set_modified(SystemTime::now())?;
            Ok(Some(file.metadata()?.len()))
        };
        blocking(claim)
            .await
            .map_err(|source| Error::io(format!("claim {name}"), source))
    }

    /// Those that nobody holds now.
    pub(crate) fn unheld(&self, kind: BlobKind, digests: &[Digest]) -> Vec<Digest> {
        let holds = self.holds.lock();
        let unheld = digests
            .iter()
            .filter(|digest| !holds.contains_key(&kind.blob(digest)));
        unheld.copied().collect()
    }

    /// Removes those of `names` that nobody holds and that were written or claimed before `before`; with `dry`, only says
    /// what would go.
    pub(crate) async fn sweep(
        &self,
        names: Vec<String>,
        before: SystemTime,
        dry: bool,
    ) -> Result<Swept> {
        let (folder, holds) = (self.folder.clone(), self.holds.clone());
        let work = move || {
            let mut swept = Swept::default();
            for name in names {
                let path = folder.join(&name);
                // A lock a blob: a claim waits for one removal at most.
                let held = holds.lock();
                if held.contains_key(&name) {
                    continue;
                }
                match remove(&path, before, dry) {
                    Ok(Some(bytes)) => {
                        swept.blobs += 1;
                        swept.bytes += bytes;
                    }
                    Ok(None) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(swept)
        };
        blocking(work)
            .await
            .map_err(|source| Error::io("sweep blobs".to_owned(), source))
    }

    /// The blobs of a kind whose digest begins with this hexadecimal digit, written or claimed before `before`. What broken
    /// uploads have left in the folder is removed on the way.
    pub(crate) async fn older_than(
        &self,
        kind: BlobKind,
        digit: char,
        before: SystemTime,
    ) -> Result<Vec<Digest>> {
        let folder = self.folder.join(kind.folder());
        let work = move || {
            let stale = SystemTime::now() - Self::STALE;
            let mut found = Vec::new();
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(name) = name.to_str().filter(|name| name.starts_with(digit)) else {
                    continue;
                };
                match kind.digest(name) {
                    Some(digest) if is_older(&entry.path(), before)? => found.push(digest),
                    Some(_) => {}
                    None => {
                        remove(&entry.path(), stale, false)?;
                    }
                }
            }
            Ok(found)
        };
        blocking(work)
            .await
            .map_err(|source| Error::io("look through the blobs".to_owned(), source))
    }
}

fn is_older(path: &Path, before: SystemTime) -> std::io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(found.modified()? < before),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(other) => Err(other),
    }
}

/// Removes a file that is older, and gives its bytes.
fn remove(path: &Path, before: SystemTime, dry: bool) -> std::io::Result<Option<u64>> {
    let remove = || -> std::io::Result<Option<u64>> {
        let found = std::fs::symlink_metadata(path)?;
        if found.modified()? >= before {
            return Ok(None);
        }
        if !dry {
            std::fs::remove_file(path)?;
        }
        Ok(Some(found.len()))
    };
    match remove() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
