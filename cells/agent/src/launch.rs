//! What an instance and a one-off task have in common: layers of a droplet, and a command that the launcher starts over them.

use std::io;

use cells_engine::{ContainerLimits, ContainerSpec, Engine};
use model::droplet::{Image, Layer, Stack};
use model::limits::Limits;
use model::secret::Env;

use crate::cell::{Cell, OPEN_FILES, blocking, cpu_weight, text_of};
use crate::layers::{Lease, MAX_LAYER_BYTES};

/// A command over a droplet, and all that its container needs.
pub(crate) struct Launch<'a> {
    /// The container's name, which its folder has too.
    pub(crate) name: String,
    pub(crate) layers: &'a [Lease],
    pub(crate) command: &'a str,
    pub(crate) env: Env,
    pub(crate) limits: Limits,
    pub(crate) log_rate: Option<u64>,
}

/// Why this cell cannot run a droplet at all.
pub(crate) fn check<E: Engine>(
    cell: &Cell<E>,
    stack: &Stack,
    layers: &[Layer],
) -> Result<(), String> {
    if *stack != cell.stack {
        return Err(format!(
            "this cell offers stack {}, not {stack}",
            cell.stack
        ));
    }
    if layers.len() > Image::MAX_LAYERS || layers.iter().any(|layer| layer.size > MAX_LAYER_BYTES) {
        return Err("the droplet has more or larger layers than a cell takes".into());
    }
    Ok(())
}

/// Brings a droplet's layers to this cell.
pub(crate) async fn fetch<E: Engine>(
    cell: &Cell<E>,
    layers: &[Layer],
) -> Result<Vec<Lease>, String> {
    let fetches: Vec<_> = layers
        .iter()
        .map(|layer| cell.layers.lease(layer))
        .collect();
    futures_util::future::try_join_all(fetches)
        .await
        .map_err(|error| text_of(&error))
}

/// Layers that a container which runs already stands on.
pub(crate) fn present<E: Engine>(cell: &Cell<E>, layers: &[Layer]) -> Vec<Lease> {
    layers
        .iter()
        .filter_map(|layer| cell.layers.lease_present(layer.diff_id))
        .collect()
}

/// Makes the container's folder, and describes the container.
pub(crate) async fn container<E: Engine>(
    cell: &Cell<E>,
    launch: Launch<'_>,
) -> io::Result<ContainerSpec> {
    let dir = cell.container_folder(&launch.name);
    let made = dir.clone();
    blocking(move || std::fs::create_dir_all(made)).await?;
    let (exe, mount) = cell.exe();
    let home = cell.home(&launch.name);
    let args = [
        &exe,
        "lifecycle",
        "launch",
        "--home",
        &home,
        "--",
        launch.command,
    ];
    Ok(ContainerSpec {
        hostname: launch.name.clone(),
        dir,
        layers: launch
            .layers
            .iter()
            .map(|lease| lease.path.clone())
            .collect(),
        mounts: mount.into_iter().collect(),
        results: None,
        cache: None,
        args: args.map(str::to_owned).into(),
        env: launch.env,
        limits: ContainerLimits {
            memory: launch.limits.memory,
            disk: launch.limits.disk,
            cpu_weight: cpu_weight(launch.limits.memory.0),
            pids: launch.limits.pids,
            open_files: OPEN_FILES,
            log_rate: launch.log_rate,
        },
        max_log_bytes: cell.config.budgets.live_log,
        name: launch.name,
        cwd: home,
    })
}

/// Completes an environment with what the cell knows of every container, whether it listens or not. What the platform must
/// be right about wins over the app's own.
pub(crate) fn complete<E: Engine>(cell: &Cell<E>, env: &mut Env, name: &str, limits: Limits) {
    let home = cell.home(name);
    for (variable, value) in [
        ("CF_INSTANCE_GUID", name),
        ("INSTANCE_GUID", name),
        ("USER", "vcap"),
        ("HOME", &home),
    ] {
        env.set(variable, value);
    }
    env.set_default("PATH", cell.search_path());
    // Diego sets en_US.UTF-8, which its root file system has. A host's own /usr surely has only C.UTF-8.
    env.set_default("LANG", "C.UTF-8");
    env.set_default("MEMORY_LIMIT", format!("{}m", limits.memory.0));
}
