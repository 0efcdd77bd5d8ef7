//! The front port: accepts clients, serves their connections, and drains them at the end.

mod stream;

use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Bounds, Config};
use crate::liveness;
use crate::proxy::{Client, Leaves, Proxy};
use crate::sync::{ServerState, Sync};
use crate::table::{SharedTable, Table};
use crate::table_file;
use crate::upstream::{Address, Idlers, Pool};
use stream::ClientStream;

/// Runs a router until `shutdown`, then drains: the port closes at once, requests in flight end or are cut after
/// [`Bounds::drain_timeout`].
///
/// # Errors
/// When the listener cannot be used, or lies beyond loopback without [`Config::insecure_http`].
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let address = config
        .listener
        .local_addr()
        .context("the front listener has no address")?;
    if !address.ip().is_loopback() && !config.insecure_http {
        bail!(
            "the front port {address} can be reached from other hosts without TLS; allow it with --insecure-http"
        );
    }
    config
        .listener
        .set_nonblocking(true)
        .and_then(|()| liveness::watch_clients(&config.listener, config.bounds.client_silence))
        .context("cannot use the front listener")?;
    let listener =
        TcpListener::from_std(config.listener).context("cannot use the front listener")?;

    let idlers = Idlers::default();
    let table = SharedTable::new(Table::awaited(&config.control_hosts, idlers.clone()));
    load(config.table_file.clone(), table.clone()).await;
    let server = ServerState::default();
    let changed = Arc::new(Notify::new());
    let control = Arc::new(Pool::new(
        Address::Unix(config.control_socket),
        idlers.clone(),
    ));

    let tasks = TaskTracker::new();
    let sync = Sync {
        socket: config.routes_socket,
        table: table.clone(),
        server: server.clone(),
        changed: Arc::clone(&changed),
    };
    tasks.spawn(sync.run(shutdown.clone()));
    tasks.spawn(table_file::keep(
        config.table_file,
        table.clone(),
        changed,
        shutdown.clone(),
    ));
    let idle = config.bounds.upstream_idle_timeout;
    tasks.spawn(close_idle(idlers, idle, shutdown.clone()));
    tasks.close();

    let connections = Connections {
        tracker: TaskTracker::new(),
        drain: Arc::new(Drain::default()),
        cut: CancellationToken::new(),
        bounds: config.bounds.clone(),
    };
    let proxy = Arc::new(Proxy {
        table,
        control,
        server,
        trusted_proxies: config.trusted_proxies,
        bounds: config.bounds,
        tunnels: connections.tracker.clone(),
        cut: connections.cut.clone(),
    });
    tracing::info!(%address, "router is listening");
    connections.accept(listener, &proxy, &shutdown).await;
    connections.drain().await;
    tasks.wait().await;
    Ok(())
}

async fn load(path: PathBuf, table: SharedTable) {
    let load = move || {
        if let Some(stored) = table_file::load(&path) {
            let routes = stored.entries.len();
            table.replace(stored);
            tracing::info!(
                routes,
                "serving the stored route table until the server answers"
            );
        }
    };
    tokio::task::spawn_blocking(load)
        .await
        .expect("loading a table does not panic");
}

/// Closes connections to instances before these close them.
async fn close_idle(idlers: Idlers, age: Duration, shutdown: CancellationToken) {
    let mut round = tokio::time::interval((age / 4).max(Duration::from_millis(10)));
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = round.tick() => {}
        }
        idlers.close(age);
    }
}

/// A signal that costs one atomic load each time a connection is polled.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    has_begun: AtomicBool,
    begin: Notify,
}

impl Drain {
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Acquire)
    }

    fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
        self.begin.notify_waiters();
    }
}

struct Connections {
    /// Client connections and tunnels.
    tracker: TaskTracker,
    drain: Arc<Drain>,
    cut: CancellationToken,
    bounds: Bounds,
}

impl Connections {
    async fn accept(
        &self,
        listener: TcpListener,
        proxy: &Arc<Proxy>,
        shutdown: &CancellationToken,
    ) {
        let places = Arc::new(Semaphore::new(self.bounds.max_connections));
        let http = self.http();
        let next = async || {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        loop {
            let (place, accepted) = tokio::select! {
                () = shutdown.cancelled() => break,
                next = next() => next,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let client = Arc::new(Client::new(peer, &proxy.trusted_proxies, place));
                    self.tracker
                        .spawn(self.serve(&http, stream, client, Arc::clone(proxy)));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections; trying again");
                    // Out of descriptors or memory: only the end of other connections helps.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn http(&self) -> http1::Builder {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.bounds.header_timeout)
            .max_header_size(self.bounds.max_header_bytes)
            .max_buf_size((2 * self.bounds.max_header_bytes).max(64 * 1024));
        http
    }

    fn serve(
        &self,
        http: &http1::Builder,
        stream: TcpStream,
        client: Arc<Client>,
        proxy: Arc<Proxy>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let drain = Arc::clone(&self.drain);
        let cut = self.cut.clone();
        let http = http.clone();
        async move {
            let mut stream = stream;
            if stream.set_nodelay(true).is_err() {
                return; // The client is gone already.
            }
            let peer = client.peer;
            let plain = proxy.serve_plain(&client, &mut stream, &drain);
            let rest = match until_cut(plain, &drain, &cut, |_| {}).await {
                Some(Leaves::With(rest)) => rest,
                Some(Leaves::Closed) | None => return,
            };
            let service = service_fn(|request| proxy.serve(&client, request));
            let stream = ClientStream::new(stream, rest, Arc::clone(&client));
            let connection = http
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let ended = until_cut(connection, &drain, &cut, |connection| {
                connection.graceful_shutdown();
            })
            .await;
            if let Some(Err(error)) = ended {
                tracing::debug!(%peer, %error, "a client connection ended early");
            }
        }
    }

    async fn drain(self) {
        self.drain.begin();
        self.tracker.close();
        if !self.tracker.is_empty() {
            tracing::info!(connections = self.tracker.len(), "draining");
        }
        if tokio::time::timeout(self.bounds.drain_timeout, self.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.tracker.len(),
                "cutting what is still in flight"
            );
            self.cut.cancel();
            self.tracker.wait().await;
        }
    }
}

/// Runs what serves a connection to its end. When the drain begins it is told so; from then on a cut ends it, with `None`.
async fn until_cut<F: Future>(
    serving: F,
    drain: &Drain,
    cut: &CancellationToken,
    shut_down: impl FnOnce(Pin<&mut F>),
) -> Option<F::Output> {
    let mut serving = pin!(serving);
    let mut begin = pin!(drain.begin.notified());
    let mut shut_down = Some(shut_down);
    let mut is_registered = false;
    let served = std::future::poll_fn(|cx| {
        if !is_registered {
            is_registered = begin.as_mut().poll(cx).is_pending();
        }
        if drain.has_begun()
            && let Some(shut_down) = shut_down.take()
        {
            shut_down(serving.as_mut());
        }
        match serving.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if shut_down.is_none() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    match served {
        Some(ended) => Some(ended),
        None => tokio::select! {
            ended = serving => Some(ended),
            () = cut.cancelled() => None,
        },
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
