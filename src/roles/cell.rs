//! The cell: runs instances and builds on this host.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use cells_agent::Agent;
use cells_engine::NetworkConfig;
use cells_engine::linux::{self, LinuxEngine};
use cells_engine::process::ProcessEngine;
use model::limits::Megabytes;
use model::protocol::cell::Isolation;
use serde::{Deserialize, Serialize};

use crate::logging;
use crate::paths::Paths;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    budgets: BudgetArgs,
}

/// What the cell keeps on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::Args)]
pub(crate) struct BudgetArgs {
    /// Room for unpacked layers that nothing uses, such as 4G [default: a twentieth of the disk, at most 10G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) layer_cache: Option<Megabytes>,
    /// Room for the build caches of all apps [default: a twentieth of the disk, at most 8G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) build_cache: Option<Megabytes>,
    /// With less free disk space, no app or build is started [default: a twentieth of the disk, 256M to 2G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) min_free_disk: Option<Megabytes>,
}

impl BudgetArgs {
    /// As arguments of a cell.
    pub(crate) fn to_args(self) -> Vec<String> {
        [
            ("--layer-cache", self.layer_cache),
            ("--build-cache", self.build_cache),
            ("--min-free-disk", self.min_free_disk),
        ]
        .into_iter()
        .filter_map(|(flag, size)| Some([flag.to_owned(), size?.to_string()]))
        .flatten()
        .collect()
    }
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
    config.budgets = cells_agent::Budgets::for_disk_of(&config.data)?;
    for (budget, given) in [
        (&mut config.budgets.layers, args.budgets.layer_cache),
        (
            &mut config.budgets.all_build_caches,
            args.budgets.build_cache,
        ),
    ] {
        *budget = given.map_or(*budget, Megabytes::bytes);
    }
    let of_one_app = &mut config.budgets.app_build_cache;
    *of_one_app = (*of_one_app).min(config.budgets.all_build_caches);
    config.min_free_disk = args.budgets.min_free_disk;
    let there = config.clone();
    tokio::task::spawn_blocking(move || cells_agent::make_room(&there)).await?;
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
