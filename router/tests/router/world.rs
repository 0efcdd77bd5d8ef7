//! A running router with its server, in a folder of its own.

use std::net::SocketAddr;
use std::path::Path;

use model::protocol::router::{Endpoint, RouteEntry, RouteTable};
use model::route::RouteKey;
use router::Config;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Client, eventually, soon};
use super::server::Server;

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) server: Option<Server>,
    pub(crate) folder: TempDir,
    shutdown: CancellationToken,
    router: JoinHandle<anyhow::Result<()>>,
}

pub(crate) const CONTROL_HOST: &str = "api.test";

pub(crate) fn key(host: &str, path: &str) -> RouteKey {
    RouteKey {
        host: host.to_owned(),
        path: path.to_owned(),
    }
}

pub(crate) fn entry(host: &str, path: &str, endpoints: &[&Endpoint]) -> RouteEntry {
    RouteEntry {
        key: key(host, path),
        endpoints: endpoints
            .iter()
            .map(|endpoint| (*endpoint).clone())
            .collect(),
    }
}

pub(crate) fn table(version: u64, entries: Vec<RouteEntry>) -> RouteTable {
    RouteTable {
        version,
        control_hosts: vec![CONTROL_HOST.to_owned()],
        entries,
    }
}

/// A configuration on a free port of loopback, with its files in `folder`.
pub(crate) fn config(folder: &Path) -> Config {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut config = Config::new(
        listener,
        folder.join("api.sock"),
        folder.join("internal.sock"),
        folder.join("routes.json"),
    );
    config.control_hosts = vec![CONTROL_HOST.to_owned()];
    config
}

impl World {
    pub(crate) async fn with(entries: Vec<RouteEntry>) -> Self {
        Self::configured(entries, |_| {}).await
    }

    /// A router that has taken its first table.
    pub(crate) async fn configured(
        entries: Vec<RouteEntry>,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(folder.path(), table(1, entries));
        let world = Self::start(folder, Some(server), adjust);
        world.has_table().await;
        world
    }

    pub(crate) fn start(
        folder: TempDir,
        server: Option<Server>,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = config(folder.path());
        adjust(&mut config);
        let address = config.listener.local_addr().expect("address");
        let shutdown = CancellationToken::new();
        let router = tokio::spawn(router::run(config, shutdown.clone()));
        Self {
            address,
            server,
            folder,
            shutdown,
            router,
        }
    }

    pub(crate) async fn has_table(&self) {
        eventually("the first table", async || {
            self.get("no-such-app.example", "/").await.status != 503
        })
        .await;
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Answer {
        self.client().await.get(host, path).await
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    pub(crate) async fn kill_server(&mut self) {
        self.server
            .take()
            .expect("the server runs")
            .kill(self.folder.path())
            .await;
    }

    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Waits for the router's end and gives back its folder.
    pub(crate) async fn ended(self) -> TempDir {
        self.shutdown.cancel();
        soon("the router's end", self.router)
            .await
            .expect("no panic")
            .expect("a clean end");
        self.folder
    }
}
