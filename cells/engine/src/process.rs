//! Process isolation: a plain process of the user, for a developer's own code on a machine without root.
//!
//! There are no namespaces and no cgroups. A container is a session of processes under a shim, with a copy of its
//! layers in `DIR/home`, a free port of the loopback address, and a few resource limits. Memory is not limited.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use cells_shim::config::{self, Config, Extension, Rlimit, RlimitKind, User};
use cells_shim::protocol;
use model::instance::Listener;
use model::protocol::cell::{DiskLimit, Isolation};

use crate::record::{self, Record, Records, blocking};
use crate::{
    Container, ContainerExit, ContainerSpec, Engine, EngineError, RESULTS, Results, Signal, Usage,
    folders, listeners, shim,
};

mod copy;
mod tree;

/// The folder below [`ContainerSpec::dir`] in which the layers are unpacked, in order; stands for `/home/vcap`.
pub const HOME: &str = "home";

/// Runs containers as plain processes. Their port is `PORT` of the environment, or a free one where that is not set.
#[derive(Debug, Clone)]
pub struct ProcessEngine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    exe: PathBuf,
    records: Records,
    /// Ports that containers were given, whether or not they listen yet.
    ports: Mutex<HashSet<u16>>,
}

/// A session of plain processes.
#[derive(Debug, Clone)]
pub struct ProcessContainer {
    engine: ProcessEngine,
    record: Arc<Record>,
    exit: Arc<OnceLock<ContainerExit>>,
}

impl ProcessEngine {
    /// `state` is the engine's own folder; `exe` is a program that runs the shim when it is called `exe shim …`.
    pub fn new(state: &Path, exe: PathBuf) -> Result<Self, EngineError> {
        let records = Records::open(state)?;
        let ports = records
            .read_all()?
            .values()
            .map(|record| record.port)
            .collect();
        Ok(Self(Arc::new(Shared {
            exe,
            records,
            ports: Mutex::new(ports),
        })))
    }

    fn container(&self, record: Record) -> ProcessContainer {
        ProcessContainer {
            engine: self.clone(),
            record: Arc::new(record),
            exit: Arc::default(),
        }
    }

    /// A port on which nobody listens now, and which no other container of this engine has.
    fn free_port(&self) -> Result<u16, EngineError> {
        const ATTEMPTS: usize = 100;
        for _ in 0..ATTEMPTS {
            let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .and_then(|listener| listener.local_addr());
            let port = bound
                .map_err(EngineError::io("look for a free port"))?
                .port();
            if self.ports().insert(port) {
                return Ok(port);
            }
        }
        Err(EngineError::Setup(
            "no free port on the loopback address".to_owned(),
        ))
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, HashSet<u16>> {
        self.0
            .ports
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Engine for ProcessEngine {
    type Container = ProcessContainer;

    fn isolation(&self) -> Isolation {
        Isolation::Process
    }

    fn disk_limit(&self) -> DiskLimit {
        DiskLimit::Sampled
    }

    async fn start(&self, spec: ContainerSpec) -> Result<ProcessContainer, EngineError> {
        record::check(&spec)?;
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let chosen = spec.env.get("PORT").and_then(|port| port.parse().ok());
        let port = match chosen {
            Some(port) => port,
            None => self.free_port()?,
        };
        let record = Record {
            name: spec.name.clone(),
            dir: spec.dir.clone(),
            address,
            port,
        };
        let container = self.container(record);
        let started = container.launch(spec).await;
        if let Err(error) = started {
            if let Err(error) = container.remove().await {
                tracing::warn!(container.name = container.name(), %error, "could not remove what is left of a failed start");
            }
            return Err(error);
        }
        Ok(container)
    }

    async fn adopt(&self) -> Result<Vec<ProcessContainer>, EngineError> {
        Ok(self
            .0
            .records
            .read_all()?
            .into_values()
            .map(|record| self.container(record))
            .collect())
    }

    /// Nothing on the host keeps these apart.
    async fn restore(&self) -> Result<bool, EngineError> {
        Ok(false)
    }

    async fn sweep(&self, known: &[String]) -> Result<(), EngineError> {
        for (name, record) in self.0.records.read_all()? {
            if !known.contains(&name) {
                self.container(record).remove().await?;
            }
        }
        Ok(())
    }
}

impl ProcessContainer {
    async fn launch(&self, spec: ContainerSpec) -> Result<(), EngineError> {
        let (records, record) = (self.engine.0.records.clone(), self.record.clone());
        let (layers, dir) = (spec.layers.clone(), spec.dir.clone());
        let folders: Vec<_> = (spec.results.iter().map(|_| dir.join(RESULTS)))
            .chain(spec.cache.iter().map(crate::Cache::files))
            .chain([dir.join(HOME)])
            .collect();
        blocking(move || {
            records.write(&record)?;
            for folder in folders {
                std::fs::create_dir_all(&folder)
                    .map_err(EngineError::io(format!("make {}", folder.display())))?;
            }
            let home = dir.join(HOME);
            layers.iter().try_for_each(|layer| {
                copy::tree(layer, &home)
                    .map_err(EngineError::io(format!("copy layer {}", layer.display())))
            })
        })
        .await?;
        let config = configuration(&spec);
        let launch = shim::Launch {
            exe: &self.engine.0.exe,
            dir: &spec.dir,
            config: &config,
            env: &spec.env,
            scratch: None,
            cache: None,
            filters: &[],
        };
        shim::launch(launch, async |_pid| Ok(())).await
    }

    /// The shim and everything below it.
    fn pids(&self) -> Vec<i32> {
        let alive = shim::read_state(&self.record.dir).filter(protocol::State::shim_is_alive);
        alive.map_or_else(Vec::new, |state| tree::descendants(state.shim_pid))
    }
}

fn configuration(spec: &ContainerSpec) -> Config {
    let limit = |kind, value| Rlimit {
        kind,
        soft: value,
        hard: value,
    };
    Config {
        oci_version: config::OCI_VERSION.to_owned(),
        process: config::Process {
            args: spec.args.clone(),
            cwd: spec.cwd.clone(),
            user: User { uid: 0, gid: 0 },
            rlimits: vec![
                limit(RlimitKind::OpenFiles, spec.limits.open_files),
                limit(RlimitKind::FileSize, spec.limits.disk.bytes()),
                limit(RlimitKind::Core, 0),
            ],
            no_new_privileges: true,
        },
        root: None,
        hostname: None,
        mounts: Vec::new(),
        linux: None,
        slipway: Extension {
            cgroups: Vec::new(),
            network: None,
            outer_user: None,
            max_log_bytes: spec.max_log_bytes,
            max_log_rate: spec.limits.log_rate,
            disks: config::Disks::default(),
        },
    }
}

impl Container for ProcessContainer {
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
        let log_bytes = shim::status(&self.record.dir).await.log_bytes;
        let this = self.clone();
        blocking(move || {
            let (cpu, memory_bytes) = tree::usage(&this.pids());
            let written = [HOME, RESULTS].map(|name| this.record.dir.join(name));
            let disk_bytes = written
                .iter()
                .map(|folder| folders::disk_usage(folder))
                .sum();
            Ok(Usage {
                cpu,
                memory_bytes,
                disk_bytes,
                disk_full: false,
                log_bytes,
            })
        })
        .await
    }

    async fn listeners(&self) -> Result<Vec<Listener>, EngineError> {
        let this = self.clone();
        blocking(move || {
            let pids = this.pids();
            let own = std::process::id().try_into().expect("pids are positive");
            Ok(listeners::find(own, &pids, true))
        })
        .await
    }

    async fn results(&self) -> Result<Results, EngineError> {
        Ok(Results {
            path: self.record.dir.join(RESULTS),
            _disk: None,
        })
    }

    async fn remove(&self) -> Result<(), EngineError> {
        const LAST_WAIT: Duration = Duration::from_secs(10);
        shim::signal(&self.record.dir, Signal::Kill.word()).await?;
        // Keeps the exit for later callers of `wait`; a shim that is gone has nothing to wait for.
        let _ = tokio::time::timeout(LAST_WAIT, self.wait()).await;
        let this = self.clone();
        blocking(move || {
            let dir = &this.record.dir;
            // A shim that was killed took the command with it, and not what that had started.
            if let Some(state) = shim::read_state(dir).filter(|_| !shim::has_ended(dir)) {
                tree::end_session(&state, dir);
            }
            record::clear_folder(dir)
                .map_err(EngineError::io(format!("clear {}", dir.display())))?;
            this.engine.0.records.remove(&this.record.name)?;
            this.engine.ports().remove(&this.record.port);
            Ok(())
        })
        .await
    }
}
