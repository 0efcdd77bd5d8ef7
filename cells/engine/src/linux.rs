//! The embedded container engine: namespaces, cgroups, seccomp and an own network link, with nothing to install.
//!
//! Files come from the host's own read-only `/usr` ([`stack`]); `/home/vcap` is an overlay of the layers and a scratch
//! folder. [`network`] gives every container an address of its own on a point-to-point link and keeps containers from
//! each other, from link-local addresses and from the platform. The order of a start: folder, cgroups, address, shim
//! (which makes the namespaces and waits), link, go.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::instance::Listener;
use model::protocol::cell::{DiskLimit, Isolation};

use crate::record::{self, Record, Records, blocking};
use crate::{
    Container, ContainerExit, ContainerSpec, Engine, EngineError, NetworkConfig, Results, Signal,
    Usage, folders, listeners, shim,
};

mod addresses;
mod bundle;
mod cgroups;
mod disk;
mod network;
mod probe;
mod seccomp;
mod stack;
mod trial;
mod users;

pub use probe::{ProbeError, probe};

/// User and group that commands run as, and that own `/home/vcap`. Layers are to be unpacked with this owner.
pub const VCAP: u32 = 2000;
/// The port that every app listens on; it has the whole address to itself.
const PORT: u16 = 8080;
const SCRATCH: &str = "scratch";
/// The folder of results in it.
const RESULTS: &str = "out";

#[derive(Debug, Clone)]
pub struct Config {
    /// The engine's own folder, on a file system that can carry the upper layer of an overlay.
    pub state: PathBuf,
    /// A program that runs the shim when it is called `exe shim …`.
    pub exe: PathBuf,
    /// Name of the cgroup below which all containers of this engine get theirs. Unique on the host.
    pub cgroup: String,
    pub network: NetworkConfig,
}

/// Runs containers made of the kernel's own parts. Needs root.
#[derive(Debug, Clone)]
pub struct LinuxEngine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    records: Records,
    stack: stack::HostStack,
    cgroups: cgroups::Cgroups,
    disks: disk::Disks,
    network: network::Network,
    addresses: addresses::Addresses,
    filters: Vec<Vec<u8>>,
    users: users::Users,
    only_removes: bool,
}

#[derive(Debug, Clone)]
pub struct LinuxContainer {
    engine: LinuxEngine,
    record: Arc<Record>,
    exit: Arc<OnceLock<ContainerExit>>,
}

impl LinuxEngine {
    /// Prepares the host: parent cgroup, packet filter, route of the pool, IP forwarding, limits by user. Idempotent;
    /// containers that run already keep running.
    pub async fn new(config: Config) -> Result<Self, EngineError> {
        // Makes the folder that trials are made in.
        let records = Records::open(&config.state)?;
        let disks = trial::repeat(|| {
            let state = config.state.clone();
            blocking(move || disk::Disks::probe(&state))
        })
        .await?;
        let users = trial::repeat(|| users::Users::find_out(&config.exe, &config.state)).await?;
        Self::set_up(config, records, Some((disks, users))).await
    }

    /// An engine that starts nothing, and takes away what is there. It tries out nothing, which a full disk could hold up.
    pub async fn for_removal(config: Config) -> Result<Self, EngineError> {
        let records = Records::open(&config.state)?;
        Self::set_up(config, records, None).await
    }

    async fn set_up(
        config: Config,
        records: Records,
        found: Option<(disk::Disks, users::Users)>,
    ) -> Result<Self, EngineError> {
        let taken = records
            .read_all()?
            .into_values()
            .map(|record| record.address);
        let addresses = addresses::Addresses::new(config.network.pool, taken)?;
        let cgroups = cgroups::Cgroups::open(&config.cgroup)?;
        let filters = seccomp::filters()?;
        let stack = blocking(|| Ok(stack::HostStack::look())).await?;
        let network = network::Network::set_up(&config.cgroup, &config.network).await?;
        let only_removes = found.is_none();
        let (disks, users) =
            found.unwrap_or_else(|| (disk::Disks::none(&config.state), users::Users::Shared));
        raise_watchers();
        Ok(Self(Arc::new(Shared {
            config,
            records,
            stack,
            cgroups,
            disks,
            network,
            addresses,
            filters,
            users,
            only_removes,
        })))
    }

    /// Takes back all that [`LinuxEngine::new`] did to the host but IP forwarding and limits by user. Containers must be
    /// removed before.
    pub async fn uninstall(&self) -> Result<(), EngineError> {
        self.0.network.take_down().await?;
        let this = self.clone();
        blocking(move || this.0.cgroups.remove_parent()).await
    }

    fn container(&self, record: Record) -> LinuxContainer {
        LinuxContainer {
            engine: self.clone(),
            record: Arc::new(record),
            exit: Arc::default(),
        }
    }
}

impl Engine for LinuxEngine {
    type Container = LinuxContainer;

    fn isolation(&self) -> Isolation {
        Isolation::Container
    }

    fn disk_limit(&self) -> DiskLimit {
        self.0.disks.limit()
    }

    async fn start(&self, spec: ContainerSpec) -> Result<LinuxContainer, EngineError> {
        record::check(&spec)?;
        if self.0.only_removes {
            return Err(EngineError::Setup("this engine starts nothing".to_owned()));
        }
        let address = self.0.addresses.take()?;
        let record = Record {
            name: spec.name.clone(),
            dir: spec.dir.clone(),
            address: address.into(),
            port: PORT,
        };
        let container = self.container(record);
        if let Err(error) = container.launch(spec, address).await {
            if let Err(error) = container.remove().await {
                tracing::warn!(container.name = container.name(), %error, "could not remove what is left of a failed start");
            }
            return Err(error);
        }
        Ok(container)
    }

    async fn adopt(&self) -> Result<Vec<LinuxContainer>, EngineError> {
        Ok(self
            .0
            .records
            .read_all()?
            .into_values()
            .map(|record| self.container(record))
            .collect())
    }

    async fn restore(&self) -> Result<bool, EngineError> {
        self.0.network.restore().await
    }

    async fn sweep(&self, known: &[String]) -> Result<(), EngineError> {
        let known: HashSet<&str> = known.iter().map(String::as_str).collect();
        // One that resists must not keep the others.
        let mut failed = None;
        for (name, record) in self.0.records.read_all()? {
            if !known.contains(name.as_str()) {
                failed = self.container(record).remove().await.err().or(failed);
            }
        }
        // What has lost its record, after a crash between two steps or a lost disk.
        let records = self.0.records.read_all()?;
        for name in self.0.cgroups.names()? {
            if !records.contains_key(&name) {
                failed = self.0.cgroups.remove(&name).await.err().or(failed);
            }
        }
        let in_use = records
            .into_values()
            .filter_map(|record| match record.address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            });
        self.0.network.sweep(&in_use.collect()).await?;
        failed.map_or(Ok(()), Err)
    }
}

impl LinuxContainer {
    async fn launch(&self, spec: ContainerSpec, address: Ipv4Addr) -> Result<(), EngineError> {
        let this = self.clone();
        let mut env = spec.env.clone();
        // Only known here; one address serves for inside and outside, as the platform's own processes reach it directly.
        env.set("CF_INSTANCE_IP", address.to_string());
        env.set("CF_INSTANCE_INTERNAL_IP", address.to_string());
        // A build or a task, which nobody calls, is told of no port.
        if env.get("PORT").is_some() {
            env.set("PORT", PORT.to_string());
            env.set("CF_INSTANCE_ADDR", format!("{address}:{PORT}"));
        }
        if let Some(cache) = &spec.cache {
            self.engine.0.disks.cache_is_free(&cache.folder).await?;
        }
        let own_disks = {
            let (this, spec) = (self.clone(), spec.clone());
            blocking(move || {
                let disks = &this.engine.0.disks;
                let owner = this.engine.0.users.owner(address);
                let scratch = disks.scratch(&spec.dir, spec.limits.disk, owner)?;
                let cache = spec
                    .cache
                    .map(|cache| disks.cache(&cache.folder, cache.limit))
                    .transpose()?;
                Ok((scratch, cache.flatten()))
            })
        };
        let bundle = blocking(move || {
            let shared = &this.engine.0;
            shared.records.write(&this.record)?;
            let reserved = bundle::Reserved {
                cgroup_dirs: shared.cgroups.create(&spec.name, &spec.limits)?,
                address,
                gateway: shared.network.gateway(),
                outer_user: shared.users.outer(address),
            };
            let config = bundle::write(
                &spec,
                &shared.stack,
                &shared.cgroups,
                &shared.disks,
                reserved,
            )?;
            Ok((config, spec.dir))
        });
        // Each takes its time in the kernel, so they work at the same time.
        let shared = &self.engine.0;
        let (own_disks, bundle, guarded) = tokio::join!(own_disks, bundle, shared.network.guard());
        let ((scratch, cache), (config, dir), ()) = (own_disks?, bundle?, guarded?);
        let launch = shim::Launch {
            exe: &shared.config.exe,
            dir: &dir,
            config: &config,
            env: &env,
            scratch,
            cache,
            filters: &shared.filters,
        };
        shim::launch(launch, async |pid| {
            shared.network.connect(address, pid).await
        })
        .await
    }

    fn address_v4(&self) -> Option<Ipv4Addr> {
        match self.record.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

/// Raises how many watchers of files one user may have. All containers have the same user, and the usual 128 would be used
/// up by as many apps with one watcher each, or by one app for all.
fn raise_watchers() {
    const FILE: &str = "/proc/sys/fs/inotify/max_user_instances";
    const ENOUGH: u64 = 64 * 1024;
    let now = std::fs::read_to_string(FILE)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    if now.is_some_and(|now| now < ENOUGH)
        && let Err(error) = std::fs::write(FILE, ENOUGH.to_string())
    {
        tracing::warn!(file = FILE, %error, "could not raise a limit that all containers share");
    }
}

impl Container for LinuxContainer {
    fn name(&self) -> &str {
        &self.record.name
    }

    fn address(&self) -> IpAddr {
        self.record.address
    }

    fn port(&self) -> u16 {
        self.record.port
    }

    async fn wait(&self) -> Result<ContainerExit, EngineError> {
        if let Some(exit) = self.exit.get() {
            return Ok(exit.clone());
        }
        let exit = shim::wait(&self.record.dir).await?;
        Ok(self.exit.get_or_init(|| exit).clone())
    }

    async fn signal(&self, signal: Signal) -> Result<(), EngineError> {
        shim::signal(&self.record.dir, signal.word()).await
    }

    async fn usage(&self) -> Result<Usage, EngineError> {
        let status = shim::status(&self.record.dir).await;
        let own = status.fill.scratch;
        let this = self.clone();
        blocking(move || {
            let (cpu, memory_bytes) = this.engine.0.cgroups.usage(&this.record.name);
            let disk_bytes = match own {
                Some(own) => own.used_bytes,
                None => folders::disk_usage(&this.record.dir.join(SCRATCH)),
            };
            Ok(Usage {
                cpu,
                memory_bytes,
                disk_bytes,
                disk_full: own.is_some_and(|own| own.full),
                log_bytes: status.log_bytes,
            })
        })
        .await
    }

    async fn listeners(&self) -> Result<Vec<Listener>, EngineError> {
        let this = self.clone();
        blocking(move || {
            let pids = this.engine.0.cgroups.pids(&this.record.name);
            let alive = shim::read_state(&this.record.dir)
                .filter(cells_shim::protocol::State::init_is_alive);
            Ok(alive.map_or_else(Vec::new, |state| listeners::find(state.pid, &pids, false)))
        })
        .await
    }

    async fn results(&self) -> Result<Results, EngineError> {
        // While the shim lives, the disk may still be mounted there.
        self.wait().await?;
        let this = self.clone();
        blocking(move || {
            let (root, disk) = this.engine.0.disks.open_ended(&this.record.dir)?;
            Ok(Results {
                path: root.join(RESULTS),
                _disk: disk,
            })
        })
        .await
    }

    async fn remove(&self) -> Result<(), EngineError> {
        const LAST_WAIT: Duration = Duration::from_secs(10);
        let shared = &self.engine.0;
        if let Err(error) = shim::signal(&self.record.dir, Signal::Kill.word()).await {
            tracing::warn!(container.name = self.name(), %error, "the shim does not answer; its processes are killed by their cgroup");
        } else {
            // Keeps the exit for later callers of `wait`; a shim that is gone has nothing to wait for.
            let _ = tokio::time::timeout(LAST_WAIT, self.wait()).await;
        }
        let disconnect = async {
            match self.address_v4() {
                Some(address) => shared.network.disconnect(address).await,
                None => Ok(()),
            }
        };
        // Both wait for the kernel to clean up, so they wait together.
        tokio::try_join!(shared.cgroups.remove(&self.record.name), disconnect)?;
        let this = self.clone();
        blocking(move || {
            let dir = &this.record.dir;
            record::clear_folder(dir)
                .map_err(EngineError::io(format!("clear {}", dir.display())))?;
            this.engine.0.records.remove(&this.record.name)?;
            if let Some(address) = this.address_v4() {
                this.engine.0.addresses.give_back(address);
            }
            Ok(())
        })
        .await
    }
}
