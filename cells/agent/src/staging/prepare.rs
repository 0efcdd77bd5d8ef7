//! Folders, files and environment of a build's container.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cells_engine::{Cache, ContainerLimits, ContainerSpec, Engine, Mount};
use model::ids::TaskId;
use model::limits::Megabytes;
use model::protocol::cell::{DiskLimit, Isolation, StagingSpec};
use model::protocol::lifecycle::BuildSpec;
use model::secret::Env;

use super::maven;
use crate::capacity;
use crate::cell::{Cell, OPEN_FILES, VCAP, owner_under};
use crate::config::Config;
use crate::durable;
use crate::layers::Owner;

/// Below that of the smallest usual app: a build takes what the others leave, and where they leave nothing, a little.
const CPU_WEIGHT: u32 = 2;

pub(super) fn folder(config: &Config, task: TaskId) -> PathBuf {
    builds(config).join(task.to_string())
}

fn builds(config: &Config) -> PathBuf {
    config.data.join("builds")
}

pub(super) fn sweep(config: &Config, known: &[TaskId]) -> io::Result<()> {
    for entry in fs::read_dir(builds(config)).into_iter().flatten() {
        let entry = entry?;
        let task = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if !task.is_some_and(|task| known.contains(&task)) {
            durable::remove_all(&entry.path())?;
        }
    }
    Ok(())
}

/// The folders of a build, as its container sees them.
struct Places {
    input: PathBuf,
    out: PathBuf,
    cache: PathBuf,
}

/// The build's own disk takes the other half. A cache that is there already counts as taken, but it is sparse, and what it may
/// still take is not more.
fn half_of_the_spare<E: Engine>(cell: &Cell<E>) -> io::Result<Megabytes> {
    let free = capacity::free_disk(&cell.config.data)?;
    Ok(Megabytes(free.0.saturating_sub(cell.room.least.0) / 2))
}

/// Makes everything that the build's container needs. The package lies in place already. Blocks.
pub(super) fn prepare<E: Engine>(cell: &Cell<E>, order: &StagingSpec) -> io::Result<ContainerSpec> {
    let isolation = cell.engine.isolation();
    let name = order.task.to_string();
    let base = folder(&cell.config, order.task);
    let input = base.join("in");
    let dir = cell.container_folder(&name);
    fs::create_dir_all(&dir)?;
    let mut cache = Cache {
        folder: cell.build_caches.open(order.app)?,
        target: String::new(),
        limit: cell
            .build_caches
            .limit(order.limits.disk, half_of_the_spare(cell)?),
    };
    if let Some(owner) = owner_under(isolation)
        && cell.engine.disk_limit() == DiskLimit::Sampled
    {
        fs::create_dir_all(cache.files())?;
        give(&cache.files(), owner)?;
    }
    let inside = match isolation {
        Isolation::Process => Places {
            input: input.clone(),
            out: dir.join(cells_engine::RESULTS),
            cache: cache.files(),
        },
        Isolation::Container => Places {
            input: "/.slipway/in".into(),
            out: "/.slipway/out".into(),
            cache: "/.slipway/cache".into(),
        },
    };
    cache.target = inside.cache.display().to_string();
    let home = cell.home(&name);
    let settings = maven::sanitised(&cell.config.host.maven_settings);
    if let Some(settings) = &settings {
        write_readable(&input.join("settings.xml"), settings.as_bytes())?;
    }
    let build = BuildSpec {
        app_name: order.app_name.clone(),
        package: inside.input.join("package.zip"),
        home: PathBuf::from(&home),
        cache: inside.cache.clone(),
        out: inside.out.clone(),
        buildpacks: order.buildpacks.clone(),
        stack: cell.stack.clone(),
        memory: order.limits.memory,
        max_source_bytes: order.limits.disk.bytes(),
        maven_settings: settings.map(|_| inside.input.join("settings.xml")),
    };
    write_readable(
        &input.join("spec.json"),
        &serde_json::to_vec(&build).map_err(io::Error::other)?,
    )?;
    readable(&input.join("package.zip"))?;
    fs::set_permissions(&input, fs::Permissions::from_mode(0o755))?;
    let (exe, exe_mount) = cell.exe();
    let bind = |source: &Path, target: &Path, writable| Mount {
        source: source.to_owned(),
        target: target.display().to_string(),
        writable,
    };
    let mounts = match isolation {
        Isolation::Process => Vec::new(),
        Isolation::Container => vec![bind(&input, &inside.input, false)],
    };
    let spec_file = inside.input.join("spec.json").display().to_string();
    Ok(ContainerSpec {
        hostname: name.clone(),
        name,
        dir,
        layers: Vec::new(),
        mounts: exe_mount.into_iter().chain(mounts).collect(),
        results: Some(inside.out.display().to_string()),
        cache: Some(cache),
        args: [exe.as_str(), "lifecycle", "build", "--spec", &spec_file]
            .map(str::to_owned)
            .into(),
        env: environment(cell, order, &home),
        cwd: home,
        limits: ContainerLimits {
            memory: order.limits.memory,
            disk: order.limits.disk,
            cpu_weight: CPU_WEIGHT,
            pids: order.limits.pids,
            open_files: OPEN_FILES,
            log_rate: None,
        },
        max_log_bytes: cell.config.budgets.live_log,
    })
}

fn environment<E: Engine>(cell: &Cell<E>, order: &StagingSpec, home: &str) -> Env {
    let mut env = order.env.clone();
    for (name, value) in &cell.config.host.proxies {
        let value = maven::without_credentials(value);
        env.set_default(name.to_uppercase(), value.as_str());
        env.set_default(name.to_lowercase(), value.as_str());
    }
    env.set("USER", "vcap");
    env.set("HOME", home);
    env.set_default("PATH", cell.search_path());
    env.set_default("LANG", "C.UTF-8");
    env.set_default("CF_STACK", cell.stack.0.as_str());
    env.set_default("MEMORY_LIMIT", format!("{}m", order.limits.memory.0));
    env
}

fn write_readable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)?;
    readable(path)
}

/// The container's user is another one than the agent's.
fn readable(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

fn give(path: &Path, owner: Owner) -> io::Result<()> {
    debug_assert_eq!(owner.uid, VCAP.uid);
    std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))
}
