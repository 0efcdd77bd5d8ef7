//! Unpacked layers, kept by content: `layers/<hex diff id>/root` is one layer as an engine mounts it.
//!
//! A layer is fetched and unpacked once, however many instances wait for it, and appears under its name only when every
//! byte was checked. A [`Lease`] keeps it; what nobody leases goes, longest unused first, when the budget is exceeded.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use cells_engine::folders::disk_usage;
use model::digest::Digest;
use model::droplet::Layer;
use model::protocol::cell::layer_blob;
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use crate::cell::blocking;
use crate::durable;
use crate::room::{Reserved, Room};
use crate::server::{Server, ServerError};

#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod gate;
mod names;
mod unpack;

pub(crate) use unpack::{Owner, UnpackError, check};

/// No layer may be larger when unpacked.
pub(crate) const MAX_LAYER_BYTES: u64 = 8 * 1024 * 1024 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Layers {
    inner: Arc<Inner>,
}

/// How a cache is set up.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) folder: PathBuf,
    /// Bytes beyond which unused layers go.
    pub(crate) budget: u64,
    pub(crate) owner: Option<Owner>,
    /// Of the disk that the cache is on.
    pub(crate) room: Arc<Room>,
    /// Whether the host may have lost what was not yet written to its disk.
    pub(crate) rebooted: bool,
    /// Owns the work that nobody waits for.
    pub(crate) tracker: TaskTracker,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    server: Server,
    slots: Mutex<HashMap<Digest, Arc<Slot>>>,
    temporary: AtomicU64,
}

/// One layer that is there or being made. Clones of the `Arc` outside the map are its users.
#[derive(Debug, Default)]
struct Slot {
    ready: OnceCell<()>,
    bytes: AtomicU64,
}

/// Keeps one layer in the cache.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) path: PathBuf,
    _slot: Arc<Slot>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    #[error("layer {layer} is declared with {bytes} bytes, more than {MAX_LAYER_BYTES}")]
    TooLarge { layer: Digest, bytes: u64 },
    #[error("there is no room for layer {layer}: {message}")]
    NoRoom { layer: Digest, message: String },
    #[error("could not fetch layer {layer}")]
    Fetch {
        layer: Digest,
        #[source]
        source: ServerError,
    },
    #[error("could not unpack layer {layer}")]
    Unpack {
        layer: Digest,
        #[source]
        source: UnpackError,
    },
    #[error("could not store layer {layer}")]
    Store {
        layer: Digest,
        #[source]
        source: io::Error,
    },
}

/// Removes a temporary file or folder, also when its maker was cancelled.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = durable::remove_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "could not remove a temporary file");
        }
    }
}

impl Layers {
    /// Opens the cache; what a crash left half done is removed.
    pub(crate) fn open(options: Options, server: Server) -> io::Result<Self> {
        let folder = &options.folder;
        fs::create_dir_all(folder)?;
        let mut slots = HashMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name
                .to_str()
                .and_then(|name| format!("sha256:{name}").parse::<Digest>().ok());
            // Within one boot, what was renamed is whole, and may be mounted.
            let whole = !options.rebooted || entry.path().join("synced").exists();
            let bytes = fs::read_to_string(entry.path().join("bytes"))
                .ok()
                .and_then(|text| text.parse().ok());
            match (digest, bytes.filter(|_| whole)) {
                (Some(digest), Some(bytes)) => {
                    let slot = Slot {
                        ready: OnceCell::new_with(Some(())),
                        bytes: AtomicU64::new(bytes),
                    };
                    slots.insert(digest, Arc::new(slot));
                }
                _ => durable::remove_all(&entry.path())?,
            }
        }
        let (slots, temporary) = (Mutex::new(slots), AtomicU64::new(0));
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                server,
                slots,
                temporary,
            }),
        })
    }

    /// Makes sure that a layer is there, fetching it if need be.
    pub(crate) async fn lease(&self, layer: &Layer) -> Result<Lease, LayerError> {
        let digest = layer.diff_id;
        self.lease_with(layer, || async {
            let reserved = self
                .reserve(layer, layer.size + layer.compressed_size)
                .await?;
            let packed = self.temporary("packed");
            let blob = layer_blob(&digest);
            let fetched = self
                .inner
                .server
                .download(&blob, &packed.0, layer.compressed_size)
                .await;
            fetched.map_err(|source| LayerError::Fetch {
                layer: digest,
                source,
            })?;
            let path = packed.0.clone();
            self.unpack(layer, path, (packed, reserved)).await
        })
        .await
    }

    /// Takes a layer from the packed file of a build, checking all of it also where the layer is there already: who knows
    /// its name may not have its bytes.
    pub(crate) async fn import(&self, layer: &Layer, packed: &Path) -> Result<Lease, LayerError> {
        let mut unpacked = false;
        let lease = self
            .lease_with(layer, || {
                unpacked = true;
                async {
                    let reserved = self.reserve(layer, layer.size).await?;
                    self.unpack(layer, packed.to_owned(), reserved).await
                }
            })
            .await?;
        if !unpacked {
            let (layer, packed) = (layer.clone(), packed.to_owned());
            blocking(move || check_file(&layer, &packed)).await?;
        }
        Ok(lease)
    }

    async fn reserve(&self, layer: &Layer, bytes: u64) -> Result<Reserved, LayerError> {
        let reserved = self.inner.options.room.reserve(bytes).await;
        reserved.map_err(|message| LayerError::NoRoom {
            layer: layer.diff_id,
            message,
        })
    }

    /// What all of them take on disk.
    pub(crate) fn bytes(&self) -> u64 {
        bytes_of(&self.slots())
    }

    /// What those take that nothing uses.
    pub(crate) fn unused_bytes(&self) -> u64 {
        let slots = self.slots();
        let unused = slots.values().filter(|slot| is_unused(slot));
        unused.map(|slot| slot.bytes.load(Ordering::Relaxed)).sum()
    }

    /// Leases a layer that a running container uses already. None where it is not there.
    pub(crate) fn lease_present(&self, layer: Digest) -> Option<Lease> {
        let slot = self
            .slots()
            .get(&layer)
            .filter(|slot| slot.ready.initialized())
            .cloned()?;
        Some(Lease {
            path: self.folder_of(layer).join("root"),
            _slot: slot,
        })
    }

    /// Leases all that are there.
    pub(crate) fn lease_all(&self) -> Vec<Lease> {
        let known: Vec<_> = self.slots().keys().copied().collect();
        let leases = known.into_iter().map(|layer| self.lease_present(layer));
        leases.flatten().collect()
    }

    async fn lease_with<F>(
        &self,
        layer: &Layer,
        make: impl FnOnce() -> F,
    ) -> Result<Lease, LayerError>
    where
        F: Future<Output = Result<(), LayerError>>,
    {
        let digest = layer.diff_id;
        if layer.size > MAX_LAYER_BYTES || layer.compressed_size > MAX_LAYER_BYTES {
            let bytes = layer.size.max(layer.compressed_size);
            return Err(LayerError::TooLarge {
                layer: digest,
                bytes,
            });
        }
        let slot = self.slots().entry(digest).or_default().clone();
        let fresh = !slot.ready.initialized();
        // The first comer works, the others wait; if it fails or is cancelled, the next one tries.
        slot.ready.get_or_try_init(make).await?;
        let cache = self.clone();
        let folder = self.folder_of(digest);
        let lease = Lease {
            path: folder.join("root"),
            _slot: slot,
        };
        let kept = tokio::task::spawn_blocking(move || {
            // The time of this file is when the layer was last used.
            File::options()
                .append(true)
                .open(folder.join("bytes"))?
                .set_modified(SystemTime::now())?;
            if fresh { cache.make_room() } else { Ok(()) }
        });
        let kept = kept.await.map_err(io::Error::other).and_then(|kept| kept);
        kept.map_err(|source| LayerError::Store {
            layer: digest,
            source,
        })?;
        Ok(lease)
    }

    /// What `holds` is let go when the writing has ended, which goes on also where nobody waits for it any more.
    async fn unpack(
        &self,
        layer: &Layer,
        packed: PathBuf,
        holds: impl Send + 'static,
    ) -> Result<(), LayerError> {
        let cache = self.clone();
        let layer = layer.clone();
        let digest = layer.diff_id;
        let done = tokio::task::spawn_blocking(move || {
            let _holds = holds;
            cache.unpack_now(&layer, &packed)
        });
        done.await.map_err(|error| LayerError::Store {
            layer: digest,
            source: io::Error::other(error),
        })?
    }

    fn unpack_now(&self, layer: &Layer, packed: &Path) -> Result<(), LayerError> {
        let digest = layer.diff_id;
        let store = |source| LayerError::Store {
            layer: digest,
            source,
        };
        let unpacked = self.temporary("unpacked");
        let root = unpacked.0.join("root");
        fs::create_dir_all(&root).map_err(store)?;
        let packed = File::open(packed).map_err(store)?;
        unpack::unpack(packed, layer, &root, self.inner.options.owner).map_err(|source| {
            LayerError::Unpack {
                layer: digest,
                source,
            }
        })?;
        let bytes = disk_usage(&root);
        fs::write(unpacked.0.join("bytes"), bytes.to_string()).map_err(store)?;
        let place = self.folder_of(digest);
        match fs::rename(&unpacked.0, &place) {
            // A cancelled maker's last step came first. What has the name is whole, and may be in use already.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) => {}
            other => other.map_err(store)?,
        }
        // An instance that waits for this layer does not wait for the disk: a layer that a power cut catches before this
        // mark is fetched anew.
        self.inner.options.tracker.spawn_blocking(move || {
            let marked = File::open(&place).and_then(|folder| {
                sync_file_system(&folder)?;
                File::create(place.join("synced"))?.sync_all()
            });
            match marked {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(layer = %digest, %error, "could not sync a layer");
                }
                _ => {}
            }
        });
        if let Some(slot) = self.slots().get(&digest) {
            slot.bytes.store(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Removes layers that nothing uses, until there is `enough` space. Blocks.
    pub(crate) fn give_way(&self, enough: impl Fn() -> bool) -> io::Result<()> {
        self.shrink(|_| enough())
    }

    fn make_room(&self) -> io::Result<()> {
        let budget = self.inner.options.budget;
        self.shrink(|bytes| bytes <= budget)
    }

    /// Removes unused layers, the longest unused first, until the bytes of the rest are `enough`. Blocks.
    fn shrink(&self, enough: impl Fn(u64) -> bool) -> io::Result<()> {
        let mut unused: Vec<(SystemTime, Digest)> = Vec::new();
        let known: Vec<_> = self.slots().keys().copied().collect();
        for digest in known {
            let used = fs::metadata(self.folder_of(digest).join("bytes"))
                .and_then(|found| found.modified());
            unused.push((used.unwrap_or(SystemTime::UNIX_EPOCH), digest));
        }
        unused.sort();
        for (_, digest) in unused {
            if enough(self.bytes()) {
                break;
            }
            let trash = self.temporary("trash");
            {
                let mut slots = self.slots();
                if !slots.get(&digest).is_some_and(is_unused) {
                    continue;
                }
                fs::rename(self.folder_of(digest), &trash.0)?;
                slots.remove(&digest);
            }
            tracing::info!(layer = %digest, "removed an unused layer to make room");
        }
        Ok(())
    }

    fn folder_of(&self, layer: Digest) -> PathBuf {
        self.inner.options.folder.join(layer.hex())
    }

    fn temporary(&self, what: &str) -> Temporary {
        let number = self.inner.temporary.fetch_add(1, Ordering::Relaxed);
        Temporary(self.inner.options.folder.join(format!("{what}-{number}")))
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Slot>>> {
        self.inner
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_file(layer: &Layer, packed: &Path) -> Result<(), LayerError> {
    let digest = layer.diff_id;
    let file = File::open(packed).map_err(|source| LayerError::Store {
        layer: digest,
        source,
    })?;
    check(file, layer).map_err(|source| LayerError::Unpack {
        layer: digest,
        source,
    })
}

/// Leases and makers hold the slot too, and can only get it through the map, which is locked by whoever asks.
fn is_unused(slot: &Arc<Slot>) -> bool {
    slot.ready.initialized() && Arc::strong_count(slot) == 1
}

fn bytes_of(slots: &HashMap<Digest, Arc<Slot>>) -> u64 {
    slots
        .values()
        .map(|slot| slot.bytes.load(Ordering::Relaxed))
        .sum()
}

#[allow(
    unsafe_code,
    reason = "std has no call that syncs all files of a file system"
)]
fn sync_file_system(folder: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for as long as `folder` lives, and syncfs touches no memory of ours.
    if unsafe { libc::syncfs(folder.as_raw_fd()) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests;
