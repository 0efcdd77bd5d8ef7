//! Containers: the one crate that knows how to make one, watch it and take it away.
//!
//! [`Engine`] is what the agent sees. [`linux`] makes namespaces and cgroups itself, through the shim in `cells/shim`;
//! [`process`] runs a plain process of the user, for a developer's own code only; [`fake`] is a small working engine in
//! memory for the agent's tests. Nothing here decides *what* should run, and nothing here talks to a server.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use model::instance::Listener;
use model::limits::Megabytes;
use model::protocol::cell::{DiskLimit, Isolation};
use model::secret::Env;

#[cfg(any(test, feature = "test-support"))]
pub mod fake;
pub mod folders;
pub mod linux;
mod listeners;
pub mod logs;
pub mod process;
mod record;
mod shim;

/// Makes containers. Cheap to clone; clones share state.
///
/// A container outlives the process that started it: after a restart of the agent [`Engine::adopt`] finds what still
/// runs and what ended meanwhile.
pub trait Engine: Clone + Send + Sync + 'static {
    type Container: Container;

    fn isolation(&self) -> Isolation;

    /// How containers are kept to [`ContainerLimits::disk`].
    fn disk_limit(&self) -> DiskLimit;

    /// Starts a container and returns when its command has begun (after exec succeeded).
    /// What is left of one that failed, where that could not be removed at once, is among those of [`Engine::adopt`].
    fn start(
        &self,
        spec: ContainerSpec,
    ) -> impl Future<Output = Result<Self::Container, EngineError>> + Send;

    /// All containers of this engine's state folder, running or ended but not yet removed, by [`ContainerSpec::name`].
    fn adopt(&self) -> impl Future<Output = Result<Vec<Self::Container>, EngineError>> + Send;

    /// Puts back what keeps running containers apart, where somebody took it from the host. True if there was anything to
    /// put back. Cheap enough for every other second.
    fn restore(&self) -> impl Future<Output = Result<bool, EngineError>> + Send;

    /// Removes what is left of containers that are not in `known`: mounts, cgroups, interfaces, rules, folders.
    fn sweep(&self, known: &[String]) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// One container, running or ended. Clones are handles to the same one.
pub trait Container: Clone + Send + Sync + 'static {
    fn name(&self) -> &str;

    /// Where its ports are reached from the host: its own address, or the loopback address under process isolation.
    fn address(&self) -> IpAddr;

    /// The port its app must listen on (`$PORT`).
    fn port(&self) -> u16;

    /// Completes when the container has ended; at once if it already has. May be awaited by several callers.
    fn wait(&self) -> impl Future<Output = Result<ContainerExit, EngineError>> + Send;

    /// Sends a signal to the container's command (not to its init).
    fn signal(&self, signal: Signal) -> impl Future<Output = Result<(), EngineError>> + Send;

    fn usage(&self) -> impl Future<Output = Result<Usage, EngineError>> + Send;

    /// The TCP sockets on which processes inside listen.
    fn listeners(&self) -> impl Future<Output = Result<Vec<Listener>, EngineError>> + Send;

    /// What an ended container has left in its [`ContainerSpec::results`].
    fn results(&self) -> impl Future<Output = Result<Results, EngineError>> + Send;

    /// Frees everything but the log files. Kills what still runs. Idempotent.
    fn remove(&self) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// What to run and in which bounds.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// Unique on the host, `[a-z0-9-]`, at most 64 characters; instance and task ids are used.
    pub name: String,
    /// Host name inside.
    pub hostname: String,
    /// Folder for state and logs of this container; made by the caller, owned by the engine until `remove`.
    /// The output lies in `logs/` below it, see [`logs`].
    pub dir: PathBuf,
    /// Unpacked layers, lowest first, that together with a scratch layer form `/home/vcap`. Read-only, shared.
    pub layers: Vec<PathBuf>,
    /// Further binds.
    pub mounts: Vec<Mount>,
    /// Absolute path inside of a folder for what shall be read when the container has ended. Counts to its disk limit.
    /// Under process isolation it is [`RESULTS`] in `dir`, whatever stands here.
    pub results: Option<String>,
    pub cache: Option<Cache>,
    /// Program and arguments, as seen inside.
    pub args: Vec<String>,
    /// Secrets: the engine hands them over in memory and leaves them on no disk and in no argv. What listens has `PORT` in
    /// it; nothing else is told of a port.
    pub env: Env,
    pub cwd: String,
    pub limits: ContainerLimits,
    /// Rotated by the shim beyond this many bytes, two files are kept.
    pub max_log_bytes: u64,
}

#[derive(Debug, Clone)]
pub struct Mount {
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: String,
    pub writable: bool,
}

/// A folder that the command may write to and that outlives the container. Only one container at a time may have it.
#[derive(Debug, Clone)]
pub struct Cache {
    /// On the host; the engine puts into it what it needs. Under process isolation the command uses [`Cache::files`].
    pub folder: PathBuf,
    /// Absolute path inside.
    pub target: String,
    /// Beyond which writes fail, where [`Engine::disk_limit`] is hard.
    pub limit: Megabytes,
}

impl Cache {
    /// The files, where the cache has no disk of its own.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }
}

/// The folder of results in [`ContainerSpec::dir`] under process isolation.
pub const RESULTS: &str = "out";

/// Results of a container that has ended, readable for as long as this lives.
#[derive(Debug)]
pub struct Results {
    /// For this process only.
    pub path: PathBuf,
    /// A mount that goes with it.
    _disk: Option<OwnedFd>,
}

#[derive(Debug, Clone, Copy)]
pub struct ContainerLimits {
    pub memory: Megabytes,
    pub disk: Megabytes,
    /// Diego's weight: 100 is one full share (1024 cgroup shares).
    pub cpu_weight: u32,
    pub pids: u32,
    /// Open files per process; Cloud Foundry's limit is 16,384. Clamped to what the host allows.
    pub open_files: u64,
    /// Output in bytes per second beyond which lines are dropped; 0 drops all.
    pub log_rate: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Kill,
}

impl Signal {
    /// What it is called on a shim's control socket.
    const fn word(self) -> &'static str {
        match self {
            Self::Terminate => cells_shim::protocol::TERMINATE,
            Self::Kill => cells_shim::protocol::KILL,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerExit {
    /// Exit status of the command; 128 + signal where a signal ended it.
    pub status: i32,
    pub oom_killed: bool,
    /// Whether the disk was full in the end.
    pub disk_full: bool,
    /// Whether the cache was.
    pub cache_full: bool,
    pub disk_bytes: u64,
    pub peak_memory_bytes: u64,
    pub ran: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Total CPU time so far.
    pub cpu: Duration,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    /// Whether writes fail because the disk is full. Never where limits are only sampled.
    pub disk_full: bool,
    /// Output so far, in bytes.
    pub log_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{tried}")]
    Io {
        tried: String,
        #[source]
        source: std::io::Error,
    },
    /// The container's own set-up failed; the text comes from the shim.
    #[error("container set-up failed: {0}")]
    Setup(String),
    #[error("the container's shim is gone")]
    ShimGone,
}

/// The address space of one engine, so that several platforms share a host.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// First address of a /20 out of 10.0.0.0/8.
    pub pool: IpAddr,
    /// Ports of the platform on the host which containers must not reach.
    pub platform_ports: Vec<SocketAddr>,
}

impl EngineError {
    pub(crate) fn io(tried: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let tried = tried.into();
        move |source| Self::Io { tried, source }
    }
}
