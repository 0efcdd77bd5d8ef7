//! A working engine in memory, for tests of whoever uses one. Time is tokio's, so it runs on a paused clock.
//!
//! What a container does is told to the engine before it starts, by a [`Behaviour`] for its name or for all. Containers
//! live in the engine, not in its handles: a test lets its agent go, makes another with [`FakeEngine::clone`], and finds
//! by [`Engine::adopt`] what runs, as after a restart.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::instance::Listener;
use model::protocol::cell::{DiskLimit, Isolation};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Container, ContainerExit, ContainerSpec, Engine, EngineError, RESULTS, Results, Signal, Usage,
};

/// What a container does once it is started.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Why it cannot even start.
    pub refuse_start: Option<String>,
    /// How long [`Engine::start`] takes.
    pub start_takes: Duration,
    /// When it begins to accept connections, counted from the start. `None`: never.
    pub reachable_after: Option<Duration>,
    /// Whether a real TCP socket on 127.0.0.1 stands for its port; otherwise only [`Container::listeners`] shows it.
    pub real_port: bool,
    /// Ends by itself after this time.
    pub exits: Option<(Duration, FakeExit)>,
    /// What it does with SIGTERM.
    pub on_terminate: OnTerminate,
    /// Output, as (stream `O` or `E`, line), written at the start in the format of [`crate::logs`].
    pub output: Vec<(char, String)>,
    pub usage: Usage,
    /// How often [`Container::remove`] fails before it does what it should.
    pub removals_fail: u32,
    /// How long each removal takes.
    pub removal_takes: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FakeExit {
    pub status: i32,
    pub oom_killed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTerminate {
    /// Ends after this time with this status.
    ExitAfter(Duration, i32),
    Ignore,
}

/// Listens at once on a pretended port, runs until it is asked to end, and then ends at once.
impl Default for Behaviour {
    fn default() -> Self {
        Self {
            refuse_start: None,
            start_takes: Duration::ZERO,
            reachable_after: Some(Duration::ZERO),
            real_port: false,
            exits: None,
            on_terminate: OnTerminate::ExitAfter(Duration::ZERO, 143),
            output: Vec::new(),
            usage: Usage::default(),
            removals_fail: 0,
            removal_takes: Duration::ZERO,
        }
    }
}

#[derive(Debug, Clone)]
pub struct FakeEngine(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    isolation: Isolation,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    all: Behaviour,
    by_name: HashMap<String, Behaviour>,
    containers: BTreeMap<String, FakeContainer>,
    /// Specs of all starts, in order.
    started: Vec<ContainerSpec>,
    next_port: u16,
    walls_are_down: bool,
    has_a_defect: bool,
    disk_limit: DiskLimit,
}

#[derive(Debug, Clone)]
pub struct FakeContainer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: std::sync::Weak<Shared>,
    name: String,
    dir: std::path::PathBuf,
    address: SocketAddr,
    started: Instant,
    behaviour: Behaviour,
    exit: watch::Sender<Option<ContainerExit>>,
    signals: Mutex<Vec<Signal>>,
    removals: Mutex<u32>,
    tasks: Mutex<Vec<AbortOnDropHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeEngine {
    #[must_use]
    pub fn new(isolation: Isolation) -> Self {
        Self(Arc::new(Shared {
            isolation,
            state: Mutex::default(),
        }))
    }

    /// What containers do that no [`FakeEngine::script`] names.
    pub fn script_all(&self, behaviour: Behaviour) {
        lock(&self.0.state).all = behaviour;
    }

    /// How it says that it keeps containers to their disk limits.
    pub fn limit_disks(&self, limit: DiskLimit) {
        lock(&self.0.state).disk_limit = limit;
    }

    /// What the container `name` does when it is started next.
    pub fn script(&self, name: &str, behaviour: Behaviour) {
        lock(&self.0.state)
            .by_name
            .insert(name.to_owned(), behaviour);
    }

    /// As a reload of the host's firewall does.
    pub fn take_walls_down(&self) {
        lock(&self.0.state).walls_are_down = true;
    }

    /// Its next [`Engine::restore`] panics.
    pub fn get_a_defect(&self) {
        lock(&self.0.state).has_a_defect = true;
    }

    #[must_use]
    pub fn walls_are_down(&self) -> bool {
        lock(&self.0.state).walls_are_down
    }

    /// Specs of all starts so far.
    #[must_use]
    pub fn started(&self) -> Vec<ContainerSpec> {
        lock(&self.0.state).started.clone()
    }

    /// A container that was started and not removed.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<FakeContainer> {
        lock(&self.0.state).containers.get(name).cloned()
    }

    /// Names of containers that were started and not removed.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock(&self.0.state).containers.keys().cloned().collect()
    }
}

impl Engine for FakeEngine {
    type Container = FakeContainer;

    fn isolation(&self) -> Isolation {
        self.0.isolation
    }

    fn disk_limit(&self) -> DiskLimit {
        lock(&self.0.state).disk_limit
    }

    async fn start(&self, spec: ContainerSpec) -> Result<FakeContainer, EngineError> {
        let behaviour = {
            let mut state = lock(&self.0.state);
            state.started.push(spec.clone());
            if state.containers.contains_key(&spec.name) {
                return Err(EngineError::Setup(format!("{} exists already", spec.name)));
            }
            state.by_name.get(&spec.name).unwrap_or(&state.all).clone()
        };
        tokio::time::sleep(behaviour.start_takes).await;
        write_output(&spec, &behaviour)?;
        make_folders(&spec)?;
        let (address, socket) = self.place(&spec, &behaviour).await?;
        let container = FakeContainer(Arc::new(Inner {
            engine: Arc::downgrade(&self.0),
            name: spec.name.clone(),
            dir: spec.dir.clone(),
            address,
            started: Instant::now(),
            behaviour: behaviour.clone(),
            exit: watch::Sender::new(None),
            signals: Mutex::default(),
            removals: Mutex::default(),
            tasks: Mutex::default(),
        }));
        lock(&self.0.state)
            .containers
            .insert(spec.name, container.clone());
        if let Some(reason) = &behaviour.refuse_start {
            // What cannot be removed stays.
            let _ = container.remove().await;
            return Err(EngineError::Setup(reason.clone()));
        }
        if let Some(socket) = socket {
            container.accept_connections(socket);
        }
        if let Some((after, exit)) = behaviour.exits {
            container.end_after(after, exit);
        }
        Ok(container)
    }

    async fn adopt(&self) -> Result<Vec<FakeContainer>, EngineError> {
        Ok(lock(&self.0.state).containers.values().cloned().collect())
    }

    async fn restore(&self) -> Result<bool, EngineError> {
        let mut state = lock(&self.0.state);
        assert!(!std::mem::take(&mut state.has_a_defect), "a defect");
        Ok(std::mem::take(&mut state.walls_are_down))
    }

    async fn sweep(&self, known: &[String]) -> Result<(), EngineError> {
        let unknown: Vec<_> = {
            let state = lock(&self.0.state);
            state
                .containers
                .values()
                .filter(|container| !known.contains(&container.0.name))
                .cloned()
                .collect()
        };
        for container in unknown {
            container.remove().await?;
        }
        Ok(())
    }
}

impl FakeEngine {
    /// The container's address, with a bound but not yet listening socket if it is to be real.
    async fn place(
        &self,
        spec: &ContainerSpec,
        behaviour: &Behaviour,
    ) -> Result<(SocketAddr, Option<tokio::net::TcpSocket>), EngineError> {
        let asked = spec
            .env
            .get("PORT")
            .and_then(|port| port.parse::<u16>().ok());
        if behaviour.real_port && behaviour.reachable_after.is_some() {
            let bind = |port| {
                let socket = tokio::net::TcpSocket::new_v4()?;
                socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
                Ok::<_, std::io::Error>((socket.local_addr()?, socket))
            };
            // Under container isolation every app has the same port, which on this one address only one could have.
            let port = if self.0.isolation == Isolation::Process {
                asked.unwrap_or(0)
            } else {
                0
            };
            let (address, socket) =
                bind(port).map_err(EngineError::io("bind the fake container's port"))?;
            return Ok((address, Some(socket)));
        }
        let mut state = lock(&self.0.state);
        state.next_port = state.next_port.checked_add(1).unwrap_or(1).max(20_000);
        Ok((
            (Ipv4Addr::LOCALHOST, asked.unwrap_or(state.next_port)).into(),
            None,
        ))
    }
}

fn write_output(spec: &ContainerSpec, behaviour: &Behaviour) -> Result<(), EngineError> {
    if behaviour.output.is_empty() {
        return Ok(());
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos());
    let lines = behaviour.output.iter().enumerate();
    let text: String = lines
        .map(|(at, (stream, line))| format!("{} {stream} {line}\n", now + at as u128))
        .collect();
    let logs = spec.dir.join("logs");
    std::fs::create_dir_all(&logs)
        .and_then(|()| std::fs::write(logs.join("current"), text))
        .map_err(EngineError::io(format!("write {}", logs.display())))
}

/// Results and cache lie in plain folders.
fn make_folders(spec: &ContainerSpec) -> Result<(), EngineError> {
    let results = spec.results.iter().map(|_| spec.dir.join(RESULTS));
    for folder in results.chain(spec.cache.iter().map(crate::Cache::files)) {
        std::fs::create_dir_all(&folder)
            .map_err(EngineError::io(format!("make {}", folder.display())))?;
    }
    Ok(())
}

impl FakeContainer {
    /// Ends it as if by itself.
    pub fn exit_now(&self, exit: FakeExit) {
        self.0.end(exit);
    }

    /// How often its removal was tried.
    #[must_use]
    pub fn removals(&self) -> u32 {
        *lock(&self.0.removals)
    }

    /// Signals that it got, in order.
    #[must_use]
    pub fn signals(&self) -> Vec<Signal> {
        lock(&self.0.signals).clone()
    }

    fn accept_connections(&self, socket: tokio::net::TcpSocket) {
        let after = self.0.behaviour.reachable_after.unwrap_or_default();
        self.run(async move {
            tokio::time::sleep(after).await;
            let Ok(listener): Result<TcpListener, _> = socket.listen(64) else {
                return;
            };
            // Accepts and closes, which is all that a port check looks for.
            while listener.accept().await.is_ok() {}
        });
    }

    fn end_after(&self, after: Duration, exit: FakeExit) {
        let inner = Arc::downgrade(&self.0);
        self.run(async move {
            tokio::time::sleep(after).await;
            if let Some(inner) = inner.upgrade() {
                inner.end(exit);
            }
        });
    }

    /// The container owns the task: it ends with it.
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.0.tasks).push(AbortOnDropHandle::new(tokio::spawn(task)));
    }
}

impl Inner {
    fn end(&self, exit: FakeExit) {
        self.exit.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert_with(|| ContainerExit {
                status: exit.status,
                oom_killed: exit.oom_killed,
                disk_full: self.behaviour.usage.disk_full,
                cache_full: false,
                disk_bytes: self.behaviour.usage.disk_bytes,
                peak_memory_bytes: self.behaviour.usage.memory_bytes,
                ran: self.started.elapsed(),
            });
            first
        });
    }

    fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
    }
}

impl Container for FakeContainer {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn address(&self) -> IpAddr {
        self.0.address.ip()
    }

    fn port(&self) -> u16 {
        self.0.address.port()
    }

    async fn wait(&self) -> Result<ContainerExit, EngineError> {
        let mut exit = self.0.exit.subscribe();
        let ended = exit
            .wait_for(Option::is_some)
            .await
            .map_err(|_| EngineError::ShimGone)?;
        ended.clone().ok_or(EngineError::ShimGone)
    }

    async fn signal(&self, signal: Signal) -> Result<(), EngineError> {
        if self.0.has_ended() {
            return Ok(());
        }
        lock(&self.0.signals).push(signal);
        match (signal, self.0.behaviour.on_terminate) {
            (Signal::Kill, _) => self.0.end(FakeExit {
                status: 137,
                oom_killed: false,
            }),
            (Signal::Terminate, OnTerminate::ExitAfter(Duration::ZERO, status)) => {
                self.0.end(FakeExit {
                    status,
                    oom_killed: false,
                });
            }
            (Signal::Terminate, OnTerminate::ExitAfter(after, status)) => {
                self.end_after(
                    after,
                    FakeExit {
                        status,
                        oom_killed: false,
                    },
                );
            }
            (Signal::Terminate, OnTerminate::Ignore) => {}
        }
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, EngineError> {
        Ok(self.0.behaviour.usage)
    }

    async fn listeners(&self) -> Result<Vec<Listener>, EngineError> {
        let reachable = self
            .0
            .behaviour
            .reachable_after
            .is_some_and(|after| self.0.started.elapsed() >= after);
        let listener = Listener {
            address: self.0.address,
            pid: Some(2),
            command: Some("fake".to_owned()),
        };
        Ok(if reachable && !self.0.has_ended() {
            vec![listener]
        } else {
            Vec::new()
        })
    }

    async fn results(&self) -> Result<Results, EngineError> {
        Ok(Results {
            path: self.0.dir.join(RESULTS),
            _disk: None,
        })
    }

    async fn remove(&self) -> Result<(), EngineError> {
        self.0.end(FakeExit {
            status: 137,
            oom_killed: false,
        });
        lock(&self.0.tasks).clear();
        tokio::time::sleep(self.0.behaviour.removal_takes).await;
        {
            let mut removals = lock(&self.0.removals);
            *removals += 1;
            if *removals <= self.0.behaviour.removals_fail {
                return Err(EngineError::Setup("something still uses it".to_owned()));
            }
        }
        if let Some(engine) = self.0.engine.upgrade() {
            lock(&engine.state).containers.remove(&self.0.name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
