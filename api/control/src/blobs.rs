//! Blobs for cells: packages down, layers up and down.

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;
use model::ids::{CellId, StreamId};
use model::protocol::router::RouteMessage;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Control, Error, Result};

impl Control {
    /// Size in bytes, or none where there is no such blob. Whoever asks relies on the answer: a build does not send a layer
    /// that is there, and names it when it ends.
    pub async fn blob_size(&self, name: &str) -> Result<Option<u64>> {
        check(name)?;
        Ok(self.store().blobs().claim(name).await?)
    }

    pub async fn read_blob(
        &self,
        name: &str,
    ) -> Result<Option<(u64, BoxStream<'static, store::Result<Bytes>>)>> {
        check(name)?;
        Ok(self.store().blobs().read(name).await?)
    }

    /// Stores a layer of about `bytes`. Its reader checks the digest, since a name here is the digest of the *unpacked*
    /// layer.
    pub async fn write_blob<E: std::error::Error + Send + Sync + 'static>(
        &self,
        name: &str,
        bytes: u64,
        content: impl Stream<Item = std::result::Result<Bytes, E>> + Send,
    ) -> Result<u64> {
        check(name)?;
        if !name.starts_with("layers/") {
            return Err(Error::BadRequest(format!("'{name}' is not a layer")));
        }
        self.check_room("a layer of this build", bytes).await?;
        Ok(self.store().blobs().write(name, content).await?)
    }

    /// This server's epoch: a cell that has obeyed a higher one does not obey this server.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.fleet().epoch()
    }

    /// Talks with a cell until the connection ends.
    pub async fn cell_session(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        cell: CellId,
        shutdown: CancellationToken,
    ) {
        self.fleet().session(io, cell, shutdown).await;
    }

    /// A stream that was asked of a cell begins. None where nobody waits for it any more.
    #[must_use]
    pub fn stream_arrived(&self, stream: StreamId) -> Option<mpsc::Sender<Bytes>> {
        self.fleet().stream_arrived(stream)
    }

    /// The routers' table and its changes, without end.
    pub fn follow_routes(&self) -> impl Stream<Item = RouteMessage> + Send + 'static + use<> {
        self.inner.routes.follow()
    }
}

/// `layers/<64 hex>.tar.zst` and `packages/<64 hex>.zip`, nothing else.
fn check(name: &str) -> Result<()> {
    let hex = name
        .strip_prefix("layers/")
        .and_then(|rest| rest.strip_suffix(".tar.zst"))
        .or_else(|| {
            name.strip_prefix("packages/")
                .and_then(|rest| rest.strip_suffix(".zip"))
        });
    let fits = hex.is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    if fits {
        Ok(())
    } else {
        Err(Error::NotFound { what: "Blob" })
    }
}
