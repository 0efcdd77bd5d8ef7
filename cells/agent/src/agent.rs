//! The agent's own life: open the stores, take over what runs, talk to the server, and leave what runs running.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use cells_engine::folders::disk_usage;
use cells_engine::{Container, Engine};
use futures_util::future::select_all;
use model::ids::AppId;
use model::instance::{Exit, ExitReason, InstanceEvent, InstanceState};
use model::task::TaskState;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cell::{Cell, Registry, blocking, containers_folder, owner_under, text_of};
use crate::config::Config;
use crate::instance::{self, Instance};
use crate::layers::{self, Layers, Lease};
use crate::ledger::{InstanceRecord, Ledger, TaskRecord, TaskWork};
use crate::logs::Logs;
use crate::reports::Reports;
use crate::room::Room;
use crate::server::Server;
use crate::staging::{self, Caches};
use crate::task::{self, Start, Task};
use crate::{capacity, command, durable, guard, launch, removal, session, stack, strangers};

/// Streams to the server at the same time.
const STREAMS: usize = 32;
/// The parts that run as long as the agent does.
const PARTS: [&str; 3] = [
    "the session with the server",
    "the guard of the walls between containers",
    "the keeper of the disk",
];
/// How long the parts of the agent may take to come to an end.
const LEAVE: Duration = Duration::from_secs(10);

/// The agent of one cell.
#[derive(Debug)]
pub struct Agent<E: Engine> {
    config: Config,
    engine: E,
}

/// Containers of the engine that the ledger may know, by name.
type Found<E> = HashMap<String, <E as Engine>::Container>;

impl<E: Engine> Agent<E> {
    #[must_use]
    pub const fn new(config: Config, engine: E) -> Self {
        Self { config, engine }
    }

    /// Runs until `shutdown`. Containers go on without the agent.
    ///
    /// # Errors
    /// Where the data folder cannot be used or the engine cannot tell what runs, and where a part of the agent has failed
    /// without which it would serve nobody: the next agent takes over. A server that is away is no error.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { config, engine } = self;
        // It also ends, then by its own fault, where one of its parts does.
        let parts_end = shutdown.child_token();
        let opened = blocking(move || open(config, engine, parts_end));
        let (cell, known) = opened.await?;
        let cell = Arc::new(cell);
        take_over(&cell, known)
            .await
            .context("could not take over what runs on this cell")?;
        let parts = [
            cell.tracker.spawn(session::keep(cell.clone())),
            cell.tracker.spawn(guard::keep(cell.clone())),
            cell.tracker.spawn(keep_room(cell.clone())),
        ];
        let failed = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            (ended, part, _) = select_all(parts) => Some((PARTS[part], ended)),
        };
        cell.shutdown.cancel();
        cell.tracker.close();
        if tokio::time::timeout(LEAVE, cell.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                "parts of the agent did not end in time; the next start settles what they left"
            );
        }
        match failed {
            None => Ok(()),
            Some((part, Err(error))) => {
                Err(anyhow::Error::new(error).context(format!("{part} of the agent failed")))
            }
            Some((part, Ok(()))) => anyhow::bail!("{part} of the agent ended before the agent"),
        }
    }
}

/// What the ledger knows when an agent starts.
struct Known {
    instances: Vec<InstanceRecord>,
    tasks: Vec<TaskRecord>,
    /// Of what may run on, until each has its own.
    _leases: Vec<Lease>,
}

/// Makes room on a disk that is too full to begin anything, of what can be spared; what runs keeps what it stands on. Blocks.
///
/// An agent does so before it writes anything. Whoever makes an engine for one does so before, as an engine writes too.
pub fn make_room(config: &Config) {
    if config.data.exists()
        && let Err(error) = try_to_make_room(config)
    {
        tracing::warn!(%error, "could not make room on the disk of this cell");
    }
}

fn try_to_make_room(config: &Config) -> std::io::Result<()> {
    let room = Arc::new(room_of(config)?);
    if !room.is_short()? {
        return Ok(());
    }
    let found = Ledger::find(&config.data, &boot_id()?)?;
    // Nobody knows yet what may run on without a ledger, and on what.
    if found.begins {
        return Ok(());
    }
    let layers = layers::Options {
        folder: config.data.join("layers"),
        budget: config.budgets.layers,
        owner: None,
        room: room.clone(),
        rebooted: found.may_have_rebooted(),
        tracker: TaskTracker::new(),
    };
    let layers = Layers::open(layers, Server::new(&config.server_socket))?;
    let known = Known::read(found.ledger(), &layers)?;
    let enough = || room.is_short().is_ok_and(|short| !short);
    layers.give_way(enough)?;
    if room.is_short()? {
        let build_caches = build_caches(config);
        let slots = Arc::new(Semaphore::new(0));
        let _turns: Vec<_> = known
            .running_builds(found.ledger())
            .map(|app| build_caches.take_turn_now(app, &slots))
            .collect();
        build_caches.give_way(enough)?;
    }
    Ok(())
}

fn boot_id() -> std::io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

fn room_of(config: &Config) -> std::io::Result<Room> {
    let least = match config.min_free_disk {
        Some(least) => least,
        None => capacity::min_free_disk(&config.data)?,
    };
    Room::open(config.data.clone(), least)
}

fn build_caches(config: &Config) -> Caches {
    Caches::new(config.data.join("build-cache"), config.budgets)
}

fn open<E: Engine>(
    config: Config,
    engine: E,
    shutdown: CancellationToken,
) -> anyhow::Result<(Cell<E>, Known)> {
    make_room(&config);
    let data = &config.data;
    let in_data = || format!("could not use the data folder {}", data.display());
    // Sources, layers and logs are their apps' own, and the host may have other users.
    fs::create_dir_all(data)
        .and_then(|()| fs::set_permissions(data, fs::Permissions::from_mode(0o700)))
        .with_context(in_data)?;
    let boot_id = boot_id().context("could not read the boot id")?;
    let found = Ledger::find(data, &boot_id).with_context(in_data)?;
    let room = Arc::new(room_of(&config).context("could not measure this host's disk")?);
    let server = Server::new(&config.server_socket);
    let tracker = TaskTracker::new();
    let layers = layers::Options {
        folder: data.join("layers"),
        budget: config.budgets.layers,
        owner: owner_under(engine.isolation()),
        room: room.clone(),
        rebooted: found.may_have_rebooted(),
        tracker: tracker.clone(),
    };
    let layers = Layers::open(layers, server.clone()).with_context(in_data)?;
    let build_caches = build_caches(&config);
    let build_slots = Arc::new(Semaphore::new(config.concurrent_builds.max(1)));
    let known = Known::read(found.ledger(), &layers).with_context(in_data)?;
    let ledger = found.open().with_context(in_data)?;
    let logs = Logs::open(
        data.join("logs"),
        containers_folder(&config),
        config.budgets,
    )
    .with_context(in_data)?;
    let capacity = match config.capacity {
        Some(capacity) => capacity,
        // What the sweep will remove is counted too, as it is free afterwards.
        None => capacity::measure(data, own_disk(data, &layers))
            .context("could not measure what this host can offer")?,
    };
    let cell = Cell {
        stack: stack::identify(Path::new("/")),
        capacity,
        room,
        ledger,
        reports: Reports::new(),
        server,
        layers,
        logs,
        instances: Registry::new(),
        tasks: Registry::new(),
        strangers: Mutex::default(),
        build_slots,
        streams: Arc::new(Semaphore::new(STREAMS)),
        build_caches,
        tracker,
        shutdown,
        engine,
        config,
    };
    Ok((cell, known))
}

impl Known {
    fn read(ledger: &Ledger, layers: &Layers) -> std::io::Result<Self> {
        let (instances, tasks) = (ledger.instances()?, ledger.tasks()?);
        let of_tasks = tasks.iter().flat_map(|record| match &record.work {
            TaskWork::Command(work) => work.layers.as_slice(),
            TaskWork::Build(_) => &[],
        });
        let of_instances = instances.iter().flat_map(|record| &record.layers);
        let leases = of_instances
            .chain(of_tasks)
            // Nothing runs on over a start of the host.
            .filter(|_| !ledger.rebooted)
            .filter_map(|layer| layers.lease_present(layer.diff_id))
            .collect();
        Ok(Self {
            instances,
            tasks,
            _leases: leases,
        })
    }

    /// The apps of builds that may run on.
    fn running_builds(&self, ledger: &Ledger) -> impl Iterator<Item = AppId> {
        let records = self.tasks.iter().filter(|_| !ledger.rebooted);
        records
            .filter(|record| !record.is_done() && matches!(record.work, TaskWork::Build(_)))
            .map(|record| record.app)
    }
}

async fn keep_room<E: Engine>(cell: Arc<Cell<E>>) {
    let give_way = |wanted| {
        let keeper = cell.clone();
        blocking(move || keeper.give_way(wanted))
    };
    cell.room.keep(&cell.shutdown, give_way).await;
}

/// Bytes that the cell has on disk for what it runs, builds and keeps.
fn own_disk(data: &Path, layers: &Layers) -> u64 {
    let folders = ["containers", "builds", "build-cache", "logs"];
    let bytes = folders.map(|name| disk_usage(&data.join(name)));
    layers.bytes() + bytes.iter().sum::<u64>()
}

/// Settles the ledger with what really runs: adopts, reports what ended meanwhile, sweeps what nobody knows.
/// What is true is told also where a full disk does not take it.
async fn take_over<E: Engine>(cell: &Arc<Cell<E>>, known: Known) -> anyhow::Result<()> {
    let Known {
        instances,
        tasks,
        _leases,
    } = known;
    let mut found: Found<E> = HashMap::new();
    for container in cell.engine.adopt().await? {
        found.insert(container.name().to_owned(), container);
    }
    let mut known: Vec<String> = instances
        .iter()
        .map(|record| record.instance.to_string())
        .chain(tasks.iter().map(|record| record.task.to_string()))
        .collect();
    let task_ids: Vec<_> = tasks.iter().map(|record| record.task).collect();
    tracing::info!(
        instances = instances.len(),
        tasks = tasks.len(),
        containers = found.len(),
        "taking over"
    );
    for record in instances {
        take_over_instance(cell, record, &mut found).await;
    }
    for record in tasks {
        take_over_task(cell, record, &mut found).await;
    }
    // After a start of the host they are only what is left of containers, and go with the sweep.
    if !cell.ledger.rebooted && !found.is_empty() {
        known.extend(found.keys().cloned());
        strangers::keep(cell, found);
    }
    if let Err(error) = cell.engine.sweep(&known).await {
        // What resists is tried again at the next start; the cell has others to serve.
        tracing::error!(
            error = text_of(&error),
            "could not remove all that earlier containers left"
        );
    }
    let config = cell.config.clone();
    let swept = blocking(move || {
        sweep_folders(&containers_folder(&config), &known)?;
        staging::sweep(&config, &task_ids)
    });
    if let Err(error) = swept.await {
        tracing::error!(%error, "could not remove all folders that earlier containers left");
    }
    Ok(())
}

async fn take_over_instance<E: Engine>(
    cell: &Arc<Cell<E>>,
    record: InstanceRecord,
    found: &mut Found<E>,
) {
    let container = found.remove(&record.instance.to_string());
    let (keeper, meta) = (cell.clone(), instance::log_meta(&record));
    let logs = blocking(move || keeper.logs.resume(meta)).await;
    let leases = launch::present(cell, &record.layers);
    let lost = lost_reason(&record, cell.ledger.rebooted, container.is_some());
    let instance = Instance::new(record, logs);
    cell.instances.insert(instance.id, instance.clone());
    cell.reports.put_instance(instance.record().report());
    if let Some(reason) = lost {
        let (keeper, ended) = (cell.clone(), instance.clone());
        let exit = blocking(move || {
            let last_lines = ended.logs.last_lines(Exit::MAX_LINES, 1000);
            let exit = Exit {
                reason,
                status: None,
                ran_ms: 0,
                last_lines,
            };
            ended.apply(&keeper, InstanceEvent::Exited(exit), None)
        });
        if let Err(error) = exit.await {
            tracing::error!(instance = %instance.id, %error, "could not record an instance's end");
        }
    }
    match container {
        Some(container) => {
            cell.tracker.spawn(instance::live(
                cell.clone(),
                instance,
                instance::Start::Adopted(container, leases),
            ));
        }
        None => {
            let (keeper, logs) = (cell.clone(), instance.logs.clone());
            if let Err(error) = blocking(move || keeper.logs.end(&logs)).await {
                tracing::error!(instance = %instance.id, %error, "could not put an ended instance's log in its place");
            }
        }
    }
}

/// How an instance ended of whose end nothing else is known; none where it is known or it may still run.
fn lost_reason(record: &InstanceRecord, rebooted: bool, has_container: bool) -> Option<ExitReason> {
    let lost = |message: &str| {
        Some(ExitReason::Lost {
            message: message.to_owned(),
        })
    };
    match &record.state {
        InstanceState::Exited { .. } => None,
        _ if rebooted => lost("the cell's host was restarted"),
        _ if has_container => None,
        InstanceState::Stopping => Some(record.verdict.clone().unwrap_or(ExitReason::Stopped)),
        InstanceState::Starting => {
            lost("the cell's agent was restarted before the container had started")
        }
        InstanceState::Running { .. } => {
            lost("its container was gone when the cell's agent started")
        }
    }
}

async fn take_over_task<E: Engine>(cell: &Arc<Cell<E>>, record: TaskRecord, found: &mut Found<E>) {
    let container = found.remove(&record.task.to_string());
    let (keeper, meta) = (cell.clone(), task::log_meta(&record));
    let logs = blocking(move || keeper.logs.resume(meta)).await;
    let (done, rebooted) = (record.is_done(), cell.ledger.rebooted);
    let (work, lost) = (record.work.clone(), task::lost(&record, rebooted));
    let task = Task::new(record, logs);
    cell.tasks.insert(task.id, task.clone());
    cell.reports.put_task(task.record().report());
    match container {
        Some(container) if !done && !rebooted => {
            let keeper = cell.clone();
            match work {
                TaskWork::Build(work) => {
                    cell.tracker
                        .spawn(staging::live(keeper, task, work, Start::Adopted(container)))
                }
                TaskWork::Command(work) => {
                    let leases = launch::present(cell, &work.layers);
                    let start = Start::Adopted((container, leases));
                    cell.tracker.spawn(command::live(keeper, task, work, start))
                }
            };
        }
        container => {
            let (keeper, ended) = (cell.clone(), task.clone());
            // No effect where it is done.
            let told =
                blocking(move || ended.apply(&keeper, TaskState::Done { outcome: lost })).await;
            if let Err(error) = told {
                tracing::error!(task = %task.id, %error, "could not record a task's end");
            }
            cell.tracker.spawn(end_task(cell.clone(), task, container));
        }
    }
}

/// Clears away after a task that is done.
async fn end_task<E: Engine>(cell: Arc<Cell<E>>, task: Arc<Task>, container: Option<E::Container>) {
    if let Some(container) = container
        && !removal::remove(&cell, &container).await
    {
        return;
    }
    let (keeper, ended) = (cell.clone(), task.clone());
    let cleared = blocking(move || {
        ended.end_logs(&keeper.logs)?;
        staging::remove_folder(&keeper.config, ended.id)
    });
    if let Err(error) = cleared.await {
        tracing::error!(task = %task.id, %error, "could not clear away after a task");
    }
}

/// Removes folders of containers that the ledger does not know; the engine has removed the containers.
fn sweep_folders(folder: &Path, known: &[String]) -> std::io::Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry?;
        let name = entry.file_name();
        if known.iter().any(|known| name.to_str() == Some(known)) {
            continue;
        }
        if let Err(error) = durable::remove_all(&entry.path()) {
            tracing::warn!(folder = %entry.path().display(), error = text_of(&error), "could not remove a container's folder");
        }
    }
    Ok(())
}
