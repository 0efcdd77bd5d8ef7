//! The router: owner of the front port.

use std::net::TcpListener;
use std::path::PathBuf;

use crate::logging;
use crate::paths::Paths;
use crate::roles::server::{FIRST_INHERITED_FD, inherited};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    data: PathBuf,
    /// Control hosts until the server names them.
    #[arg(long)]
    control_host: Vec<String>,
    #[arg(long)]
    trusted_proxy: Vec<router::Network>,
    #[arg(long)]
    insecure_http: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let paths = Paths::new(Some(args.data))?;
    logging::to_file(&paths.log("router"))?;
    let listener = TcpListener::from(inherited(FIRST_INHERITED_FD));
    let shutdown = super::shutdown_on_signal()?;
    let mut config = router::Config::new(
        listener,
        paths.api_socket(),
        paths.internal_socket(),
        paths.route_table(),
    );
    config.control_hosts = args.control_host;
    config.trusted_proxies = args.trusted_proxy;
    config.insecure_http = args.insecure_http;
    router::run(config, shutdown).await
}
