//! Connections to instances and to the server.
//!
//! Each instance and the server has a [`Pool`] of its own, found through the table's endpoint, never through an address:
//! so a connection to a gone instance cannot carry a request to the next one with the same address. A [`Link`] has no
//! task behind it; it is driven by whoever waits for its answer.

mod idlers;
mod link;
mod plain;
mod stream;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

pub(crate) use idlers::Idlers;
pub(crate) use link::{Link, RequestBody, Unsent};
use stream::Stream;

use crate::liveness::watch_instance;

/// More idle connections than this to one instance help nobody.
const MAX_IDLE: usize = 512;

#[derive(Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("cannot connect")]
    Io(#[source] io::Error),
    #[error("cannot start HTTP on a new connection")]
    Handshake(#[source] hyper::Error),
}

impl ConnectError {
    /// False where the fault lies on this side: no descriptors, no ports, no memory.
    pub(crate) fn is_of_the_peer(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::NotFound
            ),
            Self::Handshake(_) => false,
        }
    }
}

/// The connections of one instance, or of the server, that wait for the next request.
#[derive(Debug)]
pub(crate) struct Pool {
    address: Address,
    idle: Mutex<Vec<Idle<Link>>>,
    /// Those of the short way.
    plain: Mutex<Vec<Idle<TcpStream>>>,
    idlers: Idlers,
    /// Whether `idlers` has this pool in its list.
    is_listed: AtomicBool,
}

#[derive(Debug)]
struct Idle<T> {
    link: T,
    since: Instant,
}

impl Pool {
    /// Its idle connections are closed by `idlers`.
    pub(crate) fn new(address: Address, idlers: Idlers) -> Self {
        Self {
            address,
            idlers,
            is_listed: AtomicBool::new(false),
            idle: Mutex::new(Vec::new()),
            plain: Mutex::new(Vec::new()),
        }
    }

    /// The most recently used connection whose other side has not closed it.
    pub(crate) async fn take(&self) -> Option<Link> {
        poll_fn(|cx| {
            loop {
                let newest = lock(&self.idle).pop();
                let Some(Idle { mut link, .. }) = newest else {
                    return Poll::Ready(None);
                };
                if link.is_ready(cx) {
                    return Poll::Ready(Some(link));
                }
            }
        })
        .await
    }

    /// Keeps a connection that [`Link::is_ready`] for the next request.
    pub(crate) fn put(self: &Arc<Self>, link: Link) {
        keep(&self.idle, link);
        self.idlers.list(self);
    }

    /// Closes connections that nobody used for `age`, and tells whether others are left.
    fn close_idle(&self, age: Duration) -> bool {
        drop(older(&self.idle, age));
        drop(older(&self.plain, age));
        !lock(&self.idle).is_empty() || !lock(&self.plain).is_empty()
    }

    pub(crate) async fn connect(&self, limit: Duration) -> Result<Link, ConnectError> {
        let dial = async {
            match &self.address {
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    watch_instance(&stream)?;
                    Ok(Stream::Tcp(stream))
                }
                Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
            }
        };
        match tokio::time::timeout(limit, dial).await {
            Ok(Ok(stream)) => Link::over(TokioIo::new(stream))
                .await
                .map_err(ConnectError::Handshake),
            Ok(Err(error)) => Err(ConnectError::Io(error)),
            Err(_) => Err(ConnectError::Timeout(limit)),
        }
    }
}

fn lock<T>(idle: &Mutex<Vec<Idle<T>>>) -> std::sync::MutexGuard<'_, Vec<Idle<T>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep<T>(idle: &Mutex<Vec<Idle<T>>>, link: T) {
    let mut idle = lock(idle);
    if idle.len() < MAX_IDLE {
        idle.push(Idle {
            link,
            since: Instant::now(),
        });
    }
}

/// Used last in, first out: the front is the oldest.
fn older<T>(idle: &Mutex<Vec<Idle<T>>>, age: Duration) -> Vec<Idle<T>> {
    let mut idle = lock(idle);
    let old = idle
        .iter()
        .take_while(|idle| idle.since.elapsed() >= age)
        .count();
    idle.drain(..old).collect()
}
