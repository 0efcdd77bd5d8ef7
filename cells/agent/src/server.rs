//! The server as a cell sees it: HTTP/1.1 on a unix socket. Every call has deadlines; blobs are fetched and stored with a
//! few retries, since a server that is being restarted is back within a second.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use model::ids::{CellId, StreamId};
use model::protocol::cell::UPGRADE;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use tokio_util::io::ReaderStream;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Backoff;

const CONNECT: Duration = Duration::from_secs(5);
/// Longest time that the server takes to read on, or after all of a request to begin its answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest silence within a body.
const IDLE: Duration = Duration::from_secs(30);
/// As Diego's downloader tries.
const ATTEMPTS: u32 = 4;
const MAX_ERROR_TEXT: usize = 2_000;

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

#[derive(Debug, Clone)]
pub(crate) struct Server {
    socket: Arc<Path>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("could not reach the server at {}", socket.display())]
    Connect {
        socket: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{request} broke off")]
    Broken {
        request: String,
        #[source]
        source: hyper::Error,
    },
    #[error("{request} had no answer in time")]
    TimedOut { request: String },
    #[error("{request} was answered with {status}: {text}")]
    Status {
        request: String,
        status: StatusCode,
        text: String,
    },
    /// The server's disk is nearly full; the text is for whoever pushed.
    #[error("{0}")]
    NoRoom(String),
    #[error("{request} sent more than {limit} bytes")]
    TooLarge { request: String, limit: u64 },
    #[error("{request} failed on the local file")]
    File {
        request: String,
        #[source]
        source: std::io::Error,
    },
}

impl ServerError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::TimedOut { .. } => true,
            Self::Status { status, .. } => status.is_server_error(),
            Self::NoRoom(_) | Self::TooLarge { .. } | Self::File { .. } => false,
        }
    }
}

/// An answer, with the connection that still delivers its body.
struct Answer {
    name: String,
    response: Response<Incoming>,
    connection: AbortOnDropHandle<()>,
}

/// A control connection after its upgrade.
pub(crate) struct Session {
    pub(crate) io: TokioIo<Upgraded>,
    /// The leader's epoch, where the server names it ahead of its first order.
    pub(crate) epoch: Option<u64>,
}

impl Server {
    pub(crate) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Opens the control connection.
    pub(crate) async fn open_session(&self, cell: CellId) -> Result<Session, ServerError> {
        let request = Request::post(format!("/internal/cells/{cell}/session"))
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, UPGRADE);
        let answer = self.send(request, empty()).await?;
        if answer.response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(answer.refusal().await);
        }
        let epoch = number(answer.response.headers(), "slipway-epoch");
        let Answer {
            name,
            response,
            connection,
        } = answer;
        let upgraded = hyper::upgrade::on(response).await;
        drop(connection);
        let io = upgraded
            .map(TokioIo::new)
            .map_err(|source| ServerError::Broken {
                request: name,
                source,
            })?;
        Ok(Session { io, epoch })
    }

    /// Fetches a blob into the file `to`, at most `limit` bytes.
    pub(crate) async fn download(
        &self,
        blob: &str,
        to: &Path,
        limit: u64,
    ) -> Result<(), ServerError> {
        retry(|| self.download_once(blob, to, limit)).await
    }

    async fn download_once(&self, blob: &str, to: &Path, limit: u64) -> Result<(), ServerError> {
        let mut answer = self.send(Request::get(blob_uri(blob)), empty()).await?;
        if answer.response.status() != StatusCode::OK {
            return Err(answer.refusal().await);
        }
        let local = |source| ServerError::File {
            request: format!("GET {}", blob_uri(blob)),
            source,
        };
        let mut file = File::create(to).await.map_err(local)?;
        let mut received = 0;
        while let Some(frame) = answer.frame().await? {
            let Ok(data) = frame.into_data() else {
                continue;
            };
            received += data.len() as u64;
            if received > limit {
                return Err(ServerError::TooLarge {
                    request: answer.name,
                    limit,
                });
            }
            file.write_all(&data).await.map_err(local)?;
        }
        file.flush().await.map_err(local)
    }

    /// Whether the server has a blob.
    pub(crate) async fn has(&self, blob: &str) -> Result<bool, ServerError> {
        retry(|| async {
            let answer = self
                .send(
                    Request::builder().method(Method::HEAD).uri(blob_uri(blob)),
                    empty(),
                )
                .await?;
            match answer.response.status() {
                StatusCode::OK | StatusCode::NO_CONTENT => Ok(true),
                StatusCode::NOT_FOUND => Ok(false),
                _ => Err(answer.refusal().await),
            }
        })
        .await
    }

    /// Stores the file `from` as a blob.
    pub(crate) async fn upload(&self, blob: &str, from: &Path) -> Result<(), ServerError> {
        retry(|| self.upload_once(blob, from)).await
    }

    async fn upload_once(&self, blob: &str, from: &Path) -> Result<(), ServerError> {
        let local = |source| ServerError::File {
            request: format!("PUT {}", blob_uri(blob)),
            source,
        };
        let file = File::open(from).await.map_err(local)?;
        let size = file.metadata().await.map_err(local)?.len();
        let body = BodyExt::boxed(StreamBody::new(
            ReaderStream::with_capacity(file, 64 * 1024).map_ok(Frame::data),
        ));
        let request = Request::put(blob_uri(blob)).header(header::CONTENT_LENGTH, size);
        let answer = self.send(request, body).await?;
        if answer.response.status().is_success() {
            Ok(())
        } else {
            Err(answer.refusal().await)
        }
    }

    /// Sends the stream that the server asked for.
    pub(crate) async fn stream(&self, stream: StreamId, body: Body) -> Result<(), ServerError> {
        let request = Request::post(format!("/internal/streams/{stream}"))
            .header(header::CONTENT_TYPE, "application/x-ndjson");
        let answer = self.send(request, body).await?;
        if answer.response.status().is_success() {
            Ok(())
        } else {
            Err(answer.refusal().await)
        }
    }

    async fn send(
        &self,
        request: http::request::Builder,
        body: Body,
    ) -> Result<Answer, ServerError> {
        let (body, turn) = Turn::watch(body);
        let request = request
            .header(header::HOST, "slipway")
            .body(body)
            .expect("paths and headers are plain ASCII");
        let name = format!("{} {}", request.method(), request.uri());
        let connect = |source| ServerError::Connect {
            socket: self.socket.to_path_buf(),
            source,
        };
        let connected = timeout(CONNECT, UnixStream::connect(&self.socket)).await;
        let io = connected
            .map_err(|_| ServerError::TimedOut {
                request: name.clone(),
            })?
            .map_err(connect)?;
        let broken = |source| ServerError::Broken {
            request: name.clone(),
            source,
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
            .await
            .map_err(broken)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // What goes wrong here reaches the caller through its request or body.
            let _ = connection.with_upgrades().await;
        }));
        let response = tokio::select! {
            response = sender.send_request(request) => response.map_err(broken)?,
            () = turn.is_not_taken() => {
                return Err(ServerError::TimedOut { request: name });
            }
        };
        Ok(Answer {
            name,
            response,
            connection,
        })
    }
}

/// Since when it is the server's turn: to read what was sent, or to answer. None while our own side has nothing to send yet.
#[derive(Debug, Clone)]
struct Turn(Arc<Mutex<Option<Instant>>>);

impl Turn {
    fn watch(body: Body) -> (Watched, Self) {
        let turn = Self(Arc::new(Mutex::new(Some(Instant::now()))));
        let watched = Watched {
            body,
            turn: turn.clone(),
        };
        (watched, turn)
    }

    fn is(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Completes when the server has let its turn pass for [`ANSWER`].
    async fn is_not_taken(&self) {
        loop {
            let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let until = since.unwrap_or_else(Instant::now) + ANSWER;
            if since.is_some() && until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

struct Watched {
    body: Body,
    turn: Turn,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.turn.is(polled.is_ready().then(Instant::now));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

impl Answer {
    async fn frame(&mut self) -> Result<Option<Frame<Bytes>>, ServerError> {
        match timeout(IDLE, self.response.body_mut().frame()).await {
            Err(_) => Err(ServerError::TimedOut {
                request: self.name.clone(),
            }),
            Ok(None) => Ok(None),
            Ok(Some(Ok(frame))) => Ok(Some(frame)),
            Ok(Some(Err(source))) => Err(ServerError::Broken {
                request: self.name.clone(),
                source,
            }),
        }
    }

    async fn refusal(mut self) -> ServerError {
        let mut text = Vec::new();
        while let Ok(Some(frame)) = self.frame().await {
            if let Ok(data) = frame.into_data() {
                text.extend_from_slice(&data);
            }
            if text.len() >= MAX_ERROR_TEXT {
                text.truncate(MAX_ERROR_TEXT);
                break;
            }
        }
        if self.response.status() == StatusCode::INSUFFICIENT_STORAGE {
            return ServerError::NoRoom(detail(&text));
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        ServerError::Status {
            request: self.name,
            status: self.response.status(),
            text,
        }
    }
}

/// The text of the API's own error, for people.
fn detail(body: &[u8]) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let detail = json["errors"][0]["detail"].as_str();
    detail
        .unwrap_or("E-DISK the server's disk is full")
        .to_owned()
}

async fn retry<T, F: Future<Output = Result<T, ServerError>>>(
    call: impl Fn() -> F,
) -> Result<T, ServerError> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
    for _ in 1..ATTEMPTS {
        match call().await {
            Err(error) if error.may_pass() => {
                tracing::warn!(error = %error, "a call to the server failed and is tried again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
            settled => return settled,
        }
    }
    call().await
}

fn blob_uri(blob: &str) -> String {
    format!("/internal/blobs/{blob}")
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;

    use super::*;

    /// A server that takes a break before each part that it reads, and answers after `parts` of them.
    async fn store_at(pace: Duration, parts: usize) -> Result<(), ServerError> {
        const PART: usize = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let reader = AbortOnDropHandle::new(tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut part = vec![0; PART];
            for _ in 0..parts {
                tokio::time::sleep(pace).await;
                stream.read_exact(&mut part).await.unwrap();
            }
            let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            std::future::pending::<()>().await;
        }));
        let server = Server {
            socket: socket.into(),
        };
        let body = StreamBody::new(futures_util::stream::iter(
            (0..4).map(|_| Ok(Frame::data(Bytes::from(vec![0; PART])))),
        ));
        let sent = server
            .send(Request::put("/blob"), BodyExt::boxed(body))
            .await;
        drop(reader);
        sent.map(drop)
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_layer_may_take_its_time_as_long_as_the_server_reads() {
        store_at(Duration::from_secs(25), 4).await.unwrap();
        let stuck = store_at(Duration::from_secs(61), 1).await;
        assert!(matches!(stuck, Err(ServerError::TimedOut { .. })));
    }
}
