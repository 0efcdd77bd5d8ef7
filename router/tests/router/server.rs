//! The server's two sockets: its API, which echoes, and its route stream.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::protocol::router::{RouteMessage, RouteTable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use super::app::echo;

pub(crate) struct Server {
    table: Arc<Mutex<RouteTable>>,
    messages: broadcast::Sender<RouteMessage>,
    snapshots: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

impl Server {
    pub(crate) fn start(folder: &Path, table: RouteTable) -> Self {
        let api = UnixListener::bind(folder.join("api.sock")).expect("bind");
        let routes = UnixListener::bind(folder.join("internal.sock")).expect("bind");
        let table = Arc::new(Mutex::new(table));
        let (messages, _) = broadcast::channel(64);
        let snapshots = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = api.accept().await {
                serving.spawn(async move {
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(echo))
                        .await;
                });
            }
        });
        let (feed_table, feed, count) =
            (Arc::clone(&table), messages.clone(), Arc::clone(&snapshots));
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = routes.accept().await {
                // Subscribed before the snapshot is taken, so that no message falls between.
                let messages = feed.subscribe();
                let snapshot = RouteMessage::Snapshot(feed_table.lock().expect("lock").clone());
                serving.spawn(stream_routes(
                    stream,
                    snapshot,
                    messages,
                    Arc::clone(&count),
                ));
            }
        });
        Self {
            table,
            messages,
            snapshots,
            tasks,
        }
    }

    /// What the next snapshot will hold.
    pub(crate) fn set_table(&self, table: RouteTable) {
        *self.table.lock().expect("lock") = table;
    }

    pub(crate) fn say(&self, message: RouteMessage) {
        self.messages.send(message).expect("a router listens");
    }

    /// How many snapshots routers have taken.
    pub(crate) fn snapshots(&self) -> usize {
        self.snapshots.load(Ordering::SeqCst)
    }

    /// Dies with all its connections, and leaves no sockets.
    pub(crate) async fn kill(mut self, folder: &Path) {
        self.tasks.shutdown().await;
        for socket in ["api.sock", "internal.sock"] {
            std::fs::remove_file(folder.join(socket)).expect("remove the socket");
        }
    }
}

async fn stream_routes(
    mut stream: UnixStream,
    snapshot: RouteMessage,
    mut messages: broadcast::Receiver<RouteMessage>,
    count: Arc<AtomicUsize>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    assert!(
        head.starts_with(b"GET /internal/routes HTTP/1.1\r\n"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n";
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    count.fetch_add(1, Ordering::SeqCst);
    let mut next = Some(snapshot);
    while let Some(message) = next {
        let mut line = serde_json::to_vec(&message).expect("serialise");
        line.push(b'\n');
        // In two parts, so that lines cross the borders of reads.
        let (first, second) = line.split_at(line.len() / 2);
        if stream.write_all(first).await.is_err() || stream.write_all(second).await.is_err() {
            return;
        }
        next = messages.recv().await.ok();
    }
}
