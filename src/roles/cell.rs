//! The cell: runs instances and builds on this host.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use cells_agent::Agent;
use cells_engine::NetworkConfig;
use cells_engine::linux::{self, LinuxEngine};
use cells_engine::process::ProcessEngine;
use model::protocol::cell::Isolation;

use crate::logging;
use crate::paths::Paths;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Which engine, and its part of the host.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EngineArgs {
    /// container or process
    #[arg(long, value_parser = isolation)]
    pub(crate) isolation: Isolation,
    #[arg(long)]
    pub(crate) pool: IpAddr,
    /// Addresses of the platform that instances must not reach.
    #[arg(long)]
    pub(crate) platform: Vec<SocketAddr>,
}

fn isolation(text: &str) -> Result<Isolation, String> {
    [Isolation::Container, Isolation::Process]
        .into_iter()
        .find(|isolation| isolation.name() == text)
        .ok_or_else(|| format!("'{text}' is not an isolation: container or process"))
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let paths = Paths::new(Some(args.data))?;
    logging::to_file(&paths.log("cell"))?;
    let shutdown = super::shutdown_on_signal()?;
    let exe = std::env::current_exe()?;
    let mut config =
        cells_agent::Config::new(paths.cell_data(), paths.internal_socket(), exe.clone());
    config.name = "cell-1".into();
    match args.engine.isolation {
        Isolation::Container => {
            let engine = LinuxEngine::new(linux_config(&paths, exe, &args.engine)).await?;
            Agent::new(config, engine).run(shutdown).await
        }
        Isolation::Process => {
            let engine = ProcessEngine::new(&paths.engine_state(), exe)?;
            Agent::new(config, engine).run(shutdown).await
        }
    }
}

/// One host may carry several platforms: the pool's address tells their cgroups and rules apart.
pub(crate) fn linux_config(paths: &Paths, exe: PathBuf, args: &EngineArgs) -> linux::Config {
    linux::Config {
        state: paths.engine_state(),
        exe,
        cgroup: format!("slipway-{}", args.pool.to_string().replace('.', "-")),
        network: NetworkConfig {
            pool: args.pool,
            platform_ports: args.platform.clone(),
        },
    }
}
