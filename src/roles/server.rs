//! The server: API, loops, store.

use std::net::TcpListener;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::Context as _;
use api_control::{Bounds, Config, Control};
use model::limits::Megabytes;
use model::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use crate::logging;
use crate::paths::Paths;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    domain: String,
    #[arg(long)]
    front_port: u16,
    #[command(flatten)]
    bounds: BoundsArgs,
}

/// How much of the disk the server may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub(crate) struct BoundsArgs {
    /// Disk space that uploads and builds leave free, such as 2G [default: 1G, on a small disk a twentieth]
    #[arg(long, value_name = "SIZE")]
    pub(crate) keep_free: Option<Megabytes>,
    /// Uploaded sources that are kept together, the oldest go first; each app's newest stays [default: 2G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) package_budget: Option<Megabytes>,
}

impl BoundsArgs {
    /// The same, as a child's arguments.
    pub(crate) fn args(&self) -> Vec<String> {
        let flags = [
            ("--keep-free", self.keep_free),
            ("--package-budget", self.package_budget),
        ];
        let given = flags
            .iter()
            .filter_map(|(flag, size)| Some([(*flag).to_owned(), (*size)?.to_string()]));
        given.flatten().collect()
    }

    fn bounds(&self) -> Bounds {
        let default = Bounds::default();
        Bounds {
            keep_free: self.keep_free.map(Megabytes::bytes),
            package_bytes: self
                .package_budget
                .map_or(default.package_bytes, Megabytes::bytes),
        }
    }
}

/// Where the supervisor puts the listeners of its children.
pub(crate) const FIRST_INHERITED_FD: RawFd = 3;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let paths = Paths::new(Some(args.data))?;
    logging::to_file(&paths.log("server"))?;
    let [api, internal, admin] =
        [0, 1, 2].map(|offset| UnixListener::from(inherited(FIRST_INHERITED_FD + offset)));
    let shutdown = super::shutdown_on_signal()?;
    let config = Config {
        data: paths.server_data(),
        domain: args.domain,
        front_port: args.front_port,
        admin_user: "admin".into(),
        admin_password: std::env::var("SLIPWAY_ADMIN_PASSWORD")
            .ok()
            .filter(|text| !text.is_empty())
            .map(Secret::new),
        version: env!("CARGO_PKG_VERSION").into(),
        bounds: args.bounds.bounds(),
    };
    let control = Control::open(config)
        .await
        .context("the server's data can't be opened")?;
    let tasks = TaskTracker::new();
    let requests = TaskTracker::new();
    let api_routes = api_http::api(control.clone(), &requests).context("tokens can't be signed")?;
    let internal_routes = api_http::internal(control.clone(), shutdown.clone());
    let admin_routes = api_http::admin(control.clone());
    let (until, drain) = (|| shutdown.clone(), api_http::DRAIN);
    let serve = |listener, routes, requests| -> anyhow::Result<()> {
        let serving = api_http::serve(unix(listener)?, routes, requests, until(), drain);
        tasks.spawn(to_its_end(serving));
        Ok(())
    };
    serve(api, api_routes, requests)?;
    serve(internal, internal_routes, TaskTracker::new())?;
    // A descriptor tells what it is: a unix socket's has an address of that family.
    if admin.local_addr().is_ok() {
        serve(admin, admin_routes, TaskTracker::new())?;
    } else {
        let admin = TcpListener::from(OwnedFd::from(admin));
        admin.set_nonblocking(true)?;
        let admin = tokio::net::TcpListener::from_std(admin)?;
        let serving = api_http::serve(admin, admin_routes, TaskTracker::new(), until(), drain);
        tasks.spawn(to_its_end(serving));
    }
    control.run(shutdown).await;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

fn unix(listener: UnixListener) -> std::io::Result<tokio::net::UnixListener> {
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

async fn to_its_end(serving: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = serving.await {
        tracing::error!(error = format!("{error:#}"), "a listener ended");
    }
}

/// A file descriptor that the supervisor passed on.
#[allow(unsafe_code, reason = "descriptors are inherited by number")]
pub(crate) fn inherited(fd: RawFd) -> OwnedFd {
    // SAFETY: the supervisor put a listener there before this program began, and every number is taken once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
