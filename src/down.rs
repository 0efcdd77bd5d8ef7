//! `slipway down`: stop the platform of a data folder, and everything that it started.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use cells_engine::linux::LinuxEngine;
use cells_engine::process::ProcessEngine;
use cells_engine::{Container, Engine, Signal};
use model::protocol::cell::Isolation;

use crate::children;
use crate::paths::Paths;
use crate::roles::cell::linux_config;
use crate::up::{self, Settings};

/// Stop the platform and all its apps on this host. What was pushed stays; the next 'slipway up' starts it again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The data folder that 'slipway up' was given [default: as there]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// From SIGTERM to SIGKILL, for the supervisor and for instances.
const GRACE: Duration = Duration::from_secs(10);
const SUPERVISOR_GRACE: Duration = Duration::from_secs(60);

#[allow(
    clippy::print_stderr,
    reason = "a command talks to the person who runs it"
)]
pub(crate) fn main(args: Args) -> i32 {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("✗ could not start: {error}");
            return 1;
        }
    };
    match runtime.block_on(run(args)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("✗ {error:#}");
            1
        }
    }
}

#[allow(
    clippy::print_stdout,
    reason = "a command talks to the person who runs it"
)]
async fn run(args: Args) -> anyhow::Result<()> {
    let paths = Paths::new(args.data)?;
    let Some(settings) = Settings::load(&paths)? else {
        println!("nothing was ever started in {}", paths.data().display());
        return Ok(());
    };
    let mut stopped = 0;
    // The supervisor first: it would start the others again.
    for (role, patience) in [
        ("up", SUPERVISOR_GRACE),
        ("router", GRACE),
        ("server", GRACE),
        ("cell", GRACE),
    ] {
        if let Some(mut running) = children::adopt(&paths, role) {
            running.stop(patience).await;
            stopped += 1;
        }
    }
    // An 'up' that begins now must not start what is being taken away.
    let _lock = up::lock(&paths)?;
    let instances = stop_instances(&paths, &settings).await?;
    if stopped == 0 && instances == 0 {
        println!("nothing was running in {}", paths.data().display());
    } else {
        println!(
            "stopped the platform and {instances} container(s) in {}",
            paths.data().display()
        );
    }
    Ok(())
}

/// Ends the instances of a platform whose roles have ended, and takes its traces from the host.
pub(crate) async fn stop_instances(paths: &Paths, settings: &Settings) -> anyhow::Result<usize> {
    let exe = std::env::current_exe()?;
    match settings.isolation {
        Isolation::Container => {
            let engine =
                LinuxEngine::for_removal(linux_config(paths, exe, &settings.engine_args()))
                    .await
                    .context("the containers can't be reached")?;
            let count = stop_all(&engine).await?;
            engine
                .uninstall()
                .await
                .context("the host's network and cgroups can't be cleaned")?;
            Ok(count)
        }
        Isolation::Process => stop_all(&ProcessEngine::new(&paths.engine_state(), exe)?).await,
    }
}

/// Ends all containers, gracefully, and takes away what is left of them.
async fn stop_all<E: Engine>(engine: &E) -> anyhow::Result<usize> {
    let containers = engine
        .adopt()
        .await
        .context("the containers can't be listed")?;
    let count = containers.len();
    let mut ends = tokio::task::JoinSet::new();
    for container in containers {
        ends.spawn(async move {
            if container.signal(Signal::Terminate).await.is_ok() {
                // Whoever does not end in time is killed by the removal.
                let _ = tokio::time::timeout(GRACE, container.wait()).await;
            }
            container.remove().await
        });
    }
    while let Some(end) = ends.join_next().await {
        // What resists must not keep the others; it is tried again below, and named if it still does.
        let _ = end?;
    }
    engine
        .sweep(&[])
        .await
        .context("leftovers can't be removed")?;
    Ok(count)
}
