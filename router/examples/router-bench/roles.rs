//! What this program is when it starts itself: the upstream, or the router under test.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use model::ids::{AppId, InstanceId, ProcessId};
use model::protocol::router::{Endpoint, RouteEntry, RouteTable};
use model::route::RouteKey;
use router::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::Fallible;

const TABLE: &str = "routes.json";

pub(crate) fn hot_host(n: usize) -> String {
    format!("hot-{n}.bench.example")
}

/// A folder with a table of `cold` routes to an app each, and of `hot` ones to one instance at `upstream`.
pub(crate) fn write_table(
    folder: &Path,
    cold: usize,
    hot: usize,
    upstream: u16,
) -> Fallible<PathBuf> {
    let entry = |n: usize, host: String, address: SocketAddr| -> Fallible<RouteEntry> {
        let id = format!(
            "{n:08x}-5eed-4000-8000-{:012x}",
            n.wrapping_mul(0x9e37_79b9) & 0xffff_ffff
        );
        let endpoint = Endpoint {
            app: id.parse::<AppId>()?,
            process: id.parse::<ProcessId>()?,
            instance: id.parse::<InstanceId>()?,
            index: 0,
            address,
        };
        let key = RouteKey {
            host,
            path: String::new(),
        };
        Ok(RouteEntry {
            key,
            endpoints: vec![endpoint],
        })
    };
    let elsewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream));
    let cold = (0..cold).map(|n| entry(n + 1, format!("app-{n}.bench.example"), elsewhere));
    let hot = (0..hot).map(|n| entry(0, hot_host(n), here));
    let table = RouteTable {
        version: 1,
        control_hosts: vec!["api.bench.example".to_owned()],
        entries: cold.chain(hot).collect::<Fallible<_>>()?,
    };
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(TABLE), serde_json::to_vec(&table)?)?;
    Ok(folder.to_owned())
}

/// A router with one thread that serves the table in `folder`, without a server.
pub(crate) fn proxy(folder: &Path, port: u16, is_logging: bool) -> Fallible<()> {
    if is_logging {
        let log = std::fs::File::create(folder.join("router.log"))?;
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(log)
            .init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let config = Config::new(
        TcpListener::bind(("127.0.0.1", port))?,
        folder.join("api.sock"),
        folder.join("internal.sock"),
        folder.join(TABLE),
    );
    runtime.block_on(router::run(config, CancellationToken::new()))?;
    Ok(())
}

/// Answers 100 bytes to every request, whatever it is; one read is one request, as the proxies send it.
pub(crate) fn upstream(port: u16) -> Fallible<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n{}",
        "x".repeat(100)
    );
    let answer: &'static str = answer.leak();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await?;
            while connections.try_join_next().is_some() {}
            connections.spawn(async move {
                stream.set_nodelay(true)?;
                let mut request = [0; 4096];
                while stream.read(&mut request).await? > 0 {
                    stream.write_all(answer.as_bytes()).await?;
                }
                io::Result::Ok(())
            });
        }
    })
}
