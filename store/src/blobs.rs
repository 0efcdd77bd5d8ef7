//! Bytes that belong to the truth: packages and layers, under content-addressed names.
//!
//! A blob is on the disk, its folder's entry too, before anything names it. How blobs go again is in [`sweep`].

pub mod sweep;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as BlobPath;
use object_store::{ObjectStoreExt as _, WriteMultipart};

use crate::disk::sync_folder;
use crate::error::{Error, Result};
use sweep::Holds;

/// A folder of blobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<LocalFileSystem>,
    folder: PathBuf,
    holds: Holds,
}

/// The folders of a blob store: layers of droplets, and packages.
const FOLDERS: [&str; 2] = ["layers", "packages"];

impl Blobs {
    /// How much of an upload waits in memory before it goes to disk.
    const CHUNK: usize = 1024 * 1024;
    const CHUNKS_IN_FLIGHT: usize = 4;

    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let create = || -> std::io::Result<()> {
            for name in FOLDERS {
                std::fs::create_dir_all(folder.join(name))?;
            }
            sync_folder(folder)?;
            folder.parent().map_or(Ok(()), sync_folder)
        };
        create().map_err(|source| {
            Error::io(format!("create the folder {}", folder.display()), source)
        })?;
        let store = LocalFileSystem::new_with_prefix(folder)
            .map_err(failed(format!("open {}", folder.display())))?
            .with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            folder: folder.to_owned(),
            holds: Holds::default(),
        })
    }

    /// The blob's size in bytes, or `None` where there is no such blob.
    pub async fn size(&self, name: &str) -> Result<Option<u64>> {
        match self.store.head(&BlobPath::from(name)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(failed(format!("look for {name}"))(other)),
        }
    }

    /// Size and content.
    pub async fn read(
        &self,
        name: &str,
    ) -> Result<Option<(u64, BoxStream<'static, Result<Bytes>>)>> {
        match self.store.get(&BlobPath::from(name)).await {
            Ok(found) => {
                let tried = format!("read {name}");
                let size = found.meta.size;
                let stream = found
                    .into_stream()
                    .map_err(move |source| failed(tried.clone())(source));
                Ok(Some((size, stream.boxed())))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(other) => Err(failed(format!("read {name}"))(other)),
        }
    }

    /// Stores a stream. The blob appears whole or not at all; an error of the stream leaves nothing.
    pub async fn write<E: std::error::Error + Send + Sync + 'static>(
        &self,
        name: &str,
        content: impl Stream<Item = std::result::Result<Bytes, E>> + Send,
    ) -> Result<u64> {
        let upload = self
            .store
            .put_multipart(&BlobPath::from(name))
            .await
            .map_err(failed(format!("create {name}")))?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, Self::CHUNK);
        let mut written = 0;
        let mut content = std::pin::pin!(content);
        while let Some(chunk) = content.next().await {
            match chunk {
                Ok(chunk) => {
                    written += chunk.len() as u64;
                    writer
                        .wait_for_capacity(Self::CHUNKS_IN_FLIGHT)
                        .await
                        .map_err(failed(format!("write {name}")))?;
                    writer.put(chunk);
                }
                Err(broken) => {
                    writer
                        .abort()
                        .await
                        .map_err(failed(format!("give up {name}")))?;
                    let source = std::io::Error::other(broken);
                    return Err(Error::io(format!("receive {name}"), source));
                }
            }
        }
        writer
            .finish()
            .await
            .map_err(failed(format!("finish {name}")))?;
        Ok(written)
    }

    /// Moves a finished file on the same disk into the store; for bytes that were checked in a scratch file. When this
    /// returns, a power cut does not take the blob away again.
    pub async fn adopt_file(&self, name: &str, file: &Path) -> Result<()> {
        let (target, file) = (self.folder.join(name), file.to_owned());
        let adopt = move || -> std::io::Result<()> {
            let opened = std::fs::File::open(&file)?;
            // From now on it counts as written, however long it lay in the scratch folder.
            opened.set_modified(std::time::SystemTime::now())?;
            opened.sync_all()?;
            std::fs::rename(&file, &target)?;
            target.parent().map_or(Ok(()), sync_folder)
        };
        tokio::task::spawn_blocking(adopt)
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|source| Error::io(format!("store {name}"), source))
    }

    /// Where a blob lies on this host's disk, for code that needs to seek in it.
    #[must_use]
    pub fn local_path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn failed(tried: String) -> impl FnOnce(object_store::Error) -> Error {
    move |source| Error::blob(tried, source)
}
