//! Keeps the table equal to the server's: one long answer to `GET /internal/routes`, read line by line.
//!
//! Whatever is wrong with the stream (a gap, a bad line, silence), the remedy is the same: connect again and take a new
//! snapshot. Meanwhile the table stays as it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use model::protocol::router::{KEEP_ALIVE, RouteMessage};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::table::{Gap, SharedTable};
use crate::upstream::{Address, ConnectError, Idlers, Link, Pool, RequestBody, Unsent};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const SILENCE: Duration = KEEP_ALIVE.saturating_mul(3);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A snapshot is one line; a million instances take some 300 MB.
const MAX_LINE_BYTES: usize = 512 * 1024 * 1024;
/// Longer lines are parsed off the threads that serve requests.
const LONG_LINE_BYTES: usize = 128 * 1024;

#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("the server's internal socket does not accept")]
    Connect(#[from] ConnectError),
    #[error("the server did not answer the request for its routes")]
    Request(#[source] hyper::Error),
    #[error("the server answered the request for its routes with {0}")]
    Status(StatusCode),
    #[error("the route stream broke off")]
    Broken(#[source] hyper::Error),
    #[error("the server ended the route stream")]
    Ended,
    #[error("the route stream was silent for {0:?}")]
    Silent(Duration),
    #[error("a line of the route stream is longer than {MAX_LINE_BYTES} bytes")]
    LongLine,
    #[error("a line of the route stream is not understood")]
    BadLine(#[source] serde_json::Error),
    #[error("the route stream did not begin with a snapshot")]
    NoSnapshot,
    #[error("the route stream has a gap")]
    Gap(#[from] Gap),
}

/// Whether the server keeps the route stream alive.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerState(Arc<AtomicBool>);

impl ServerState {
    pub(crate) fn is_live(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, is_live: bool) -> bool {
        self.0.swap(is_live, Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(crate) struct Sync {
    pub(crate) socket: PathBuf,
    pub(crate) table: SharedTable,
    pub(crate) server: ServerState,
    /// Told of every change of the table.
    pub(crate) changed: Arc<Notify>,
}

impl Sync {
    /// Follows the server until the shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = tokio::select! {
                () = shutdown.cancelled() => return,
                error = self.follow() => error,
            };
            let cause = std::error::Error::source(&error)
                .map(|cause| cause.to_string())
                .unwrap_or_default();
            if self.server.set(false) {
                tracing::warn!(%error, cause, "lost the server's routes; serving on with the last table");
                pause = FIRST_PAUSE;
            } else {
                tracing::debug!(%error, cause, "the server's routes are out of reach");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = LONGEST_PAUSE.min(2 * pause),
            }
        }
    }

    async fn follow(&self) -> SyncError {
        match self.follow_once().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn follow_once(&self) -> Result<std::convert::Infallible, SyncError> {
        let pool = Pool::new(Address::Unix(self.socket.clone()), Idlers::default());
        let mut link = pool.connect(CONNECT_TIMEOUT).await?;
        let request = Request::get("/internal/routes")
            .header(http::header::HOST, "server")
            .body(RequestBody::empty())
            .expect("the parts are constant and valid");
        let answer = tokio::time::timeout(SILENCE, link.send(request)).await;
        let answer = answer.map_err(|_| SyncError::Silent(SILENCE))?;
        let answer = answer.map_err(|Unsent { error, .. }| SyncError::Request(error))?;
        if answer.status() != StatusCode::OK {
            return Err(SyncError::Status(answer.status()));
        }
        let mut lines = Lines {
            link,
            body: answer.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
        };
        let mut has_snapshot = false;
        loop {
            let line = lines.next().await?;
            match parse(line).await? {
                RouteMessage::KeepAlive => {}
                RouteMessage::Snapshot(snapshot) => {
                    let (version, routes) = (snapshot.version, snapshot.entries.len());
                    let table = self.table.clone();
                    let replace = tokio::task::spawn_blocking(move || table.replace(snapshot));
                    replace.await.expect("replacing a table does not panic");
                    tracing::info!(version, routes, "took the server's route table");
                    has_snapshot = true;
                    self.server.set(true);
                    self.changed.notify_one();
                }
                RouteMessage::Delta { .. } if !has_snapshot => return Err(SyncError::NoSnapshot),
                RouteMessage::Delta {
                    version,
                    changed,
                    removed,
                } => {
                    self.table.write().apply(version, changed, &removed)?;
                    self.changed.notify_one();
                }
            }
        }
    }
}

async fn parse(line: Bytes) -> Result<RouteMessage, SyncError> {
    let parsed = if line.len() < LONG_LINE_BYTES {
        serde_json::from_slice(&line)
    } else {
        tokio::task::spawn_blocking(move || serde_json::from_slice(&line))
            .await
            .expect("parsing does not panic")
    };
    parsed.map_err(SyncError::BadLine)
}

struct Lines {
    link: Link,
    body: Incoming,
    buffer: BytesMut,
    /// How much of the buffer holds no line feed.
    searched: usize,
}

impl Lines {
    /// The next line that is not empty, without its line feed.
    async fn next(&mut self) -> Result<Bytes, SyncError> {
        loop {
            if let Some(at) = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                self.searched = 0;
                if line.len() > 1 {
                    return Ok(line.slice(..line.len() - 1));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE_BYTES {
                return Err(SyncError::LongLine);
            }
            let frame = std::future::poll_fn(|cx| self.link.poll_body(&mut self.body, cx));
            match tokio::time::timeout(SILENCE, frame)
                .await
                .map_err(|_| SyncError::Silent(SILENCE))?
            {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(SyncError::Broken(error)),
                None => return Err(SyncError::Ended),
            }
        }
    }
}
