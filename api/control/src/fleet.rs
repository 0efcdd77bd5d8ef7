//! The fleet: what should run, what the cells say runs, and the loop that brings the two together.
//!
//! All state sits behind one mutex that is held for short, synchronous steps only. Sessions ([`session`]) feed what
//! cells say into it; use cases tell it to look again at an app; the [`driver`] asks the scheduler for plans and sends
//! orders. What is here can be rebuilt from the store and the cells' full reports, and is at every start.

mod alarm;
mod clock;
mod crashes;
mod driver;
mod orders;
mod rolling;
mod session;
#[cfg(test)]
mod simulation;
mod state;
mod streams;
mod tasks;
mod wishes;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::ids::{AppId, CellId, InstanceId, ProcessId, TaskId, VersionId};
use model::instance::Exit;
use model::limits::Megabytes;
use model::protocol::cell::{InstanceUsage, Isolation, OrderBody};
use scheduler::{Event, IndexView};
use store::records::PageRequest;
use store::{DeploymentFilter, Store};
use tokio::sync::{Mutex as Turn, Notify, watch};

use crate::collector::Collector;
use crate::route_feed::RouteFeed;
use crate::settings::{Settings, weakest};
use crate::stats::{CellInfo, Counts};
use clock::Clock;
pub(crate) use rolling::FailedRelease;
use state::State;
pub(crate) use state::Wanted;
use streams::Streams;
use tasks::OpenTask;
pub(crate) use tasks::desired as desired_task;

/// The fleet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    settings: Settings,
    routes: RouteFeed,
    collector: Collector,
    epoch: u64,
    state: Mutex<State>,
    /// Something changed that may change the plan.
    changed: Notify,
    /// Held while what should run is read and taken over: of two readings the later one has to be the last one taken.
    reading: Turn<()>,
    /// What should run was read. Cells wait for it: their reports mean little before.
    loaded: watch::Sender<bool>,
    streams: Streams,
}

impl Fleet {
    pub(crate) fn new(
        store: Store,
        settings: Settings,
        routes: RouteFeed,
        collector: Collector,
        epoch: u64,
    ) -> Self {
        Self::with_clock(store, settings, routes, collector, epoch, Clock::System)
    }

    fn with_clock(
        store: Store,
        settings: Settings,
        routes: RouteFeed,
        collector: Collector,
        epoch: u64,
        clock: Clock,
    ) -> Self {
        let state = Mutex::new(State::new(clock));
        let inner = Inner {
            store,
            settings,
            routes,
            collector,
            epoch,
            state,
            changed: Notify::new(),
            reading: Turn::new(()),
            loaded: watch::Sender::new(false),
            streams: Streams::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("no panic while held")
    }

    /// Reads again what should run of an app, and wakes the driver.
    pub(crate) async fn refresh_app(&self, app: AppId) -> store::Result<()> {
        let _turn = self.inner.reading.lock().await;
        let lrps = self.inner.store.list_desired_lrps(Some(app)).await?;
        let filter = DeploymentFilter {
            apps: vec![app],
            active: true,
            ..DeploymentFilter::default()
        };
        let active = self
            .inner
            .store
            .list_deployments(&filter, PageRequest::ALL)
            .await?
            .items;
        self.state().want_app(app, &lrps, active.first());
        self.inner.changed.notify_one();
        Ok(())
    }

    /// Whether requests still reach an instance of another version of this index.
    pub(crate) fn older_serves(&self, wanted: &Wanted, process: ProcessId, index: u32) -> bool {
        self.state().older_serves(wanted, process, index)
    }

    /// How the last instance of an index ended, if it was of this version and no later one became healthy.
    pub(crate) fn last_exit(
        &self,
        process: ProcessId,
        index: u32,
        version: VersionId,
    ) -> Option<Exit> {
        let state = self.state();
        let (of, exit) = state.last_exits.get(&(process, index))?;
        (*of == version).then(|| exit.clone())
    }

    /// A build or a one-off task is to be placed.
    pub(crate) fn add_task(&self, task: scheduler::DesiredTask) {
        self.state().apply(Event::Task(task));
        self.inner.changed.notify_one();
    }

    /// The task needs nothing any more; if it runs, its cell is told.
    pub(crate) fn cancel_task(&self, task: TaskId) {
        let mut state = self.state();
        let cell = state.scheduler.task(task).and_then(|view| view.cell);
        state.end_task(task);
        if let Some(cell) = cell {
            state.send(cell, OrderBody::CancelTask { task });
        }
    }

    /// Has the cell that a task was sent to end it; it goes on until the cell says how it ended.
    pub(crate) fn ask_task_to_end(&self, task: TaskId, cell: CellId) {
        self.state().send(cell, OrderBody::CancelTask { task });
    }

    /// Withdraws everything that an app has under way: its builds and its tasks.
    pub(crate) async fn cancel_tasks_of(&self, app: AppId) -> store::Result<()> {
        for open in OpenTask::list(&self.inner.store).await? {
            if open.app() == app {
                self.cancel_task(open.id());
            }
        }
        Ok(())
    }

    pub(crate) fn restart_instance(&self, process: ProcessId, index: u32) {
        self.state()
            .apply(Event::RestartInstance { process, index });
        self.inner.changed.notify_one();
    }

    /// One row an index, in the scheduler's view, with what it should be.
    pub(crate) fn indices(&self, process: ProcessId) -> (Option<Wanted>, Vec<IndexView>) {
        let state = self.state();
        (
            state.wanted.get(&process).cloned(),
            state.scheduler.process(process),
        )
    }

    pub(crate) fn usage(&self, instance: InstanceId) -> Option<InstanceUsage> {
        self.state().usage.get(&instance).cloned()
    }

    pub(crate) fn cell_name(&self, cell: CellId) -> Option<String> {
        self.state()
            .cells
            .get(&cell)
            .map(|link| link.hello.name.clone())
    }

    /// What the weakest connected cell offers; none while no cell is connected.
    pub(crate) fn isolation(&self) -> Option<Isolation> {
        weakest(self.state().cells.values().map(|link| link.hello.isolation))
    }

    pub(crate) fn largest_cell_memory(&self) -> Option<Megabytes> {
        self.state()
            .cells
            .values()
            .map(|link| link.hello.capacity.memory)
            .max()
    }

    /// Why something waits for a cell, in words.
    pub(crate) fn shortage_text(&self, why: &scheduler::PlacementError) -> String {
        self.state().shortage_text(why)
    }

    /// Memory that is promised to nobody, on the cell that has most of it. None without a cell.
    pub(crate) fn largest_free_memory(&self) -> Option<Megabytes> {
        self.state().scheduler.largest_free_memory()
    }

    pub(crate) fn stack(&self) -> Option<model::droplet::Stack> {
        self.state()
            .cells
            .values()
            .map(|link| link.hello.stack.clone())
            .next()
    }

    pub(crate) fn cells(&self) -> Vec<CellInfo> {
        let state = self.state();
        let views = state.scheduler.cells();
        let infos = views.into_iter().filter_map(|view| {
            let link = state.cells.get(&view.cell)?;
            Some(CellInfo {
                id: view.cell,
                name: link.hello.name.clone(),
                zone: view.zone,
                stack: view.stack,
                isolation: link.hello.isolation,
                capacity: view.capacity,
                used: view.used,
                connected: link.is_connected(),
            })
        });
        infos.collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts()
    }

    /// Whether all cells that may hold instances have spoken since this server started.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state().settled
    }
}

/// How often the driver looks although nothing told it to.
const TICK: Duration = Duration::from_secs(1);
