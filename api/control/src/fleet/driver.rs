//! The loop that brings what runs to what should run.
//!
//! Each round reads the world, plans, and sends orders; it takes no input, wakes when told and every second anyway, and looks
//! every 30 s for what nobody told it.
//! Until every cell that may hold instances has spoken (or its TTL passed since this server started) nothing stops, only what
//! is new starts, and routers are told nothing: what is missing from this server's memory may well be running.

use std::collections::BTreeMap;
use std::time::Duration;

use model::ids::{AppId, CellId, TaskId};
use model::protocol::cell::{OrderBody, PRESENCE_TTL};
use model::task::{StagingFailure, TaskOutcome};
use scheduler::{Decision, Event, PlacementError, Time};
use store::records::{DesiredLrp, PageRequest, Placement};
use store::{DeploymentFilter, TaskTeller};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::state::State;
use super::tasks::OpenTask;
use super::{Fleet, TICK, orders};
use crate::route_feed::RouteFeed;

/// Decisions of one round; the rest follows in the next.
const BUDGET: usize = 2_000;
/// How long a task waits for room before it ends with an answer.
const TASK_PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether something was committed without a word to the driver: whoever wrote it was cut off, or could
/// not read it again.
const READING: Duration = Duration::from_secs(30);
/// After a failed round.
const BACK_OFF: Duration = Duration::from_secs(1);

impl Fleet {
    /// Loads what should run, then converges until `shutdown`.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        while let Err(error) = self.load().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "loading the desired state failed; it is tried again"
            );
            tokio::select! {
                () = tokio::time::sleep(BACK_OFF) => {}
                () = shutdown.cancelled() => return,
            }
        }
        let started = Instant::now();
        let mut read = started;
        loop {
            if read.elapsed() >= READING {
                read = Instant::now();
                if let Err(error) = self.read_again().await {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "looking for changes of the desired state failed; it is tried again"
                    );
                }
            }
            let pause = match self.round(started).await {
                Ok(wake) => wake.map_or(TICK, |wake| self.until(wake).min(TICK)),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a round failed; it is tried again"
                    );
                    BACK_OFF
                }
            };
            tokio::select! {
                () = self.inner.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Everything desired, and the tasks under way.
    async fn load(&self) -> store::Result<()> {
        let _turn = self.inner.reading.lock().await;
        let lrps = self.inner.store.list_desired_lrps(None).await?;
        let tasks = OpenTask::list(&self.inner.store).await?;
        let cells = self.inner.store.list_cells().await?;
        let crashes = self.inner.store.list_crash_counts().await?;
        let filter = DeploymentFilter {
            active: true,
            ..DeploymentFilter::default()
        };
        let active = self
            .inner
            .store
            .list_deployments(&filter, PageRequest::ALL)
            .await?
            .items;
        let mut by_app: BTreeMap<AppId, Vec<DesiredLrp>> = BTreeMap::new();
        for lrp in lrps {
            by_app.entry(lrp.app).or_default().push(lrp);
        }
        let mut state = self.state();
        for (app, lrps) in &by_app {
            state.want_app(
                *app,
                lrps,
                active.iter().find(|deployment| deployment.app == *app),
            );
        }
        want_tasks(&mut state, &tasks);
        state.remember_crashes(crashes);
        let awaited = cells.iter().filter(|cell| !cell.lost).map(|cell| cell.id);
        let cells = awaited.collect();
        state.apply(Event::Inherit { cells });
        drop(state);
        self.inner.loaded.send_replace(true);
        Ok(())
    }

    async fn round(&self, started: Instant) -> store::Result<Option<Time>> {
        // First of all, since it needs no store.
        self.tell_routes();
        for cell in self.expired(started) {
            self.lose(cell).await?;
        }
        if self.state().reread_tasks {
            self.read_tasks_again().await?;
        }
        let (plan, settled) = {
            let mut state = self.state();
            if !state.settled && state.scheduler.awaited().next().is_none() {
                state.settled = true;
                // A server before this one may have ended between the loss of a cell and the ends of its tasks.
                state.reread_tasks = true;
                // A router takes what it is told first for the whole table.
                tell(&self.inner.routes, &mut state);
                self.inner.routes.settle();
            }
            let now = state.now();
            let plan = state.scheduler.plan(now, BUDGET);
            state.watch_brake();
            (plan, state.settled)
        };
        tell_who_waits(&plan.decisions);
        let mut carried_out = Ok(());
        for decision in plan.decisions {
            // All are booked as sent, so one that fails must not keep the others from going out.
            if let Err(error) = self.carry_out(decision).await {
                carried_out = Err(error);
            }
        }
        self.tell_routes();
        carried_out?;
        // A release whose instances have not reported has not failed, and a build may yet find its cell.
        if settled {
            self.end_deployments().await?;
            self.end_impatient_tasks().await?;
        }
        self.tell_routes();
        Ok(self.state().scheduler.next_wake())
    }

    /// Cells whose TTL has passed: those that fell silent, and those that never spoke to this server.
    fn expired(&self, started: Instant) -> Vec<CellId> {
        let state = self.state();
        let silent = state
            .cells
            .iter()
            .filter(|(_, link)| link.heard.elapsed() > PRESENCE_TTL)
            .map(|(cell, _)| *cell);
        let mut expired = silent.collect::<Vec<_>>();
        if started.elapsed() > PRESENCE_TTL {
            expired.extend(state.scheduler.awaited());
        }
        expired
    }

    async fn lose(&self, cell: CellId) -> store::Result<()> {
        tracing::warn!(cell.id = %cell, "a cell is lost");
        self.inner.store.lose_cell(cell).await?;
        let mut state = self.state();
        state.lose_cell(cell);
        state.reread_tasks = true;
        Ok(())
    }

    /// Takes over what was committed and not told.
    async fn read_again(&self) -> store::Result<()> {
        let desired = self.inner.store.outline_desired().await?;
        let changed = self.state().changed_apps(&desired);
        // The others are found the next time.
        for app in changed.into_iter().take(BUDGET) {
            tracing::info!(app.guid = %app, "what should run of an app has changed without a word");
            self.refresh_app(app).await?;
        }
        self.read_tasks_again().await
    }

    /// Takes over the tasks that wait for a place, ends those whose cell is lost, and asks again for the ends of those that
    /// somebody has cancelled.
    async fn read_tasks_again(&self) -> store::Result<()> {
        let tasks = OpenTask::list(&self.inner.store).await?;
        let lost = {
            let mut state = self.state();
            state.reread_tasks = false;
            want_tasks(&mut state, &tasks);
            let mut lost = Vec::new();
            for open in &tasks {
                let Some(placed) = open.placed() else {
                    continue;
                };
                if state.is_lost(placed.cell) {
                    lost.push(open.id());
                } else if open.is_canceling() {
                    state.send(placed.cell, OrderBody::CancelTask { task: open.id() });
                }
            }
            lost
        };
        for task in lost {
            self.lose_task(task).await?;
        }
        Ok(())
    }

    async fn carry_out(&self, decision: Decision) -> store::Result<()> {
        match decision {
            Decision::Start {
                instance,
                process,
                version,
                index,
                cell,
            } => {
                let mut state = self.state();
                match state
                    .wanted
                    .get(&process)
                    .and_then(|wanted| Some((wanted, wanted.edition(version)?)))
                {
                    Some((wanted, edition)) => {
                        let spec = orders::instance_spec(wanted, edition, process, instance, index);
                        tracing::info!(app.guid = %spec.app, instance.index = index, cell.id = %cell, "start an instance");
                        state.send(cell, OrderBody::Run(Box::new(spec)));
                    }
                    // A newer wish came in between; its own plan follows.
                    None => state.apply(Event::InstanceGone { cell, instance }),
                }
            }
            Decision::Stop {
                instance,
                cell,
                reason,
            } => {
                tracing::info!(instance.guid = %instance, cell.id = %cell, ?reason, "stop an instance");
                self.state().send(cell, OrderBody::Stop { instance });
            }
            Decision::StartTask { task, cell } => {
                if let Err(error) = self.start_task(task, cell).await {
                    // It was not sent: it is planned anew.
                    let mut state = self.state();
                    state.end_task(task);
                    state.reread_tasks = true;
                    return Err(error);
                }
            }
            Decision::Blocked { .. } => {}
            Decision::TaskBlocked { task, why } => {
                tracing::info!(task.guid = %task, %why, "a task waits for room");
                self.state()
                    .waiting_tasks
                    .entry(task)
                    .or_insert_with(Instant::now);
            }
        }
        Ok(())
    }

    /// Commits where the task goes before the order leaves, so that it can never be sent twice. Nothing can fail between
    /// the two.
    async fn start_task(&self, task: TaskId, cell: CellId) -> store::Result<()> {
        let incarnation = {
            let mut state = self.state();
            state.waiting_tasks.remove(&task);
            let incarnation = state.cells.get(&cell).map(|link| link.hello.incarnation);
            if incarnation.is_none() {
                state.end_task(task);
                state.reread_tasks = true;
            }
            incarnation
        };
        let Some(incarnation) = incarnation else {
            return Ok(());
        };
        let Some(open) = OpenTask::find(&self.inner.store, task).await? else {
            self.state().end_task(task);
            return Ok(());
        };
        let order = match self.order_of(&open).await? {
            Ok(order) => order,
            Err(failure) => {
                return self
                    .finish_task(task, TaskOutcome::Failed { failure }, TaskTeller::Server)
                    .await;
            }
        };
        let placement = Placement {
            cell,
            incarnation,
            epoch: self.inner.epoch,
        };
        match open.place(&self.inner.store, placement).await {
            Ok(()) => {}
            Err(store::Error::Missing) => {
                self.state().end_task(task);
                return Ok(());
            }
            Err(other) => return Err(other),
        }
        {
            let mut state = self.state();
            // Its app may have been deleted meanwhile.
            if state.scheduler.task(task).is_none() {
                return Ok(());
            }
            state.ordered_tasks.insert(task, cell);
            state.send(cell, order);
        }
        if let OpenTask::Command(_) = open {
            // A wish to end it that came before the order left found nobody to tell.
            let now = OpenTask::find(&self.inner.store, task).await?;
            if now.is_some_and(|now| now.is_canceling()) {
                self.ask_task_to_end(task, cell);
            }
        }
        Ok(())
    }

    async fn order_of(
        &self,
        open: &OpenTask,
    ) -> store::Result<std::result::Result<OrderBody, StagingFailure>> {
        let store = &self.inner.store;
        match open {
            OpenTask::Build(build) => {
                let env = crate::builds::staging_env(store, &self.inner.settings, build).await?;
                let spec = orders::staging_spec(store, build, env).await?;
                Ok(spec.map(|spec| OrderBody::Stage(Box::new(spec))))
            }
            OpenTask::Command(task) => {
                let spec = orders::task_spec(store, task).await?;
                Ok(spec.map(|spec| OrderBody::RunTask(Box::new(spec))))
            }
        }
    }

    /// A task that no cell could take for long, or that none ever could, ends with the reason.
    async fn end_impatient_tasks(&self) -> store::Result<()> {
        let ended = {
            let state = self.state();
            let largest = state
                .cells
                .values()
                .map(|link| link.hello.capacity.memory.0)
                .max()
                .unwrap_or(0);
            // A full disk does not empty itself while somebody waits.
            let full =
                !state.cells.is_empty() && state.cells.values().all(|link| link.has_full_disk());
            let waiting = state.waiting_tasks.iter().filter_map(|(task, since)| {
                let why = state.scheduler.task(*task)?.blocked?;
                let hopeless = full
                    || matches!(&why, PlacementError::Insufficient { needed_memory_mb, .. } if *needed_memory_mb > largest);
                (hopeless || since.elapsed() > TASK_PATIENCE)
                    .then(|| (*task, state.shortage_text(&why)))
            });
            waiting.collect::<Vec<_>>()
        };
        for (task, message) in ended {
            self.finish_task(
                task,
                TaskOutcome::Failed {
                    failure: StagingFailure::NoCapacity { message },
                },
                TaskTeller::Server,
            )
            .await?;
        }
        Ok(())
    }

    fn until(&self, wake: Time) -> Duration {
        let now = self.state().now();
        Duration::from_micros(u64::try_from(wake.0.saturating_sub(now.0)).unwrap_or(0))
    }

    /// Tells the route feed where the apps that changed are reached now.
    pub(crate) fn tell_routes(&self) {
        tell(&self.inner.routes, &mut self.state());
    }
}

fn tell(routes: &RouteFeed, state: &mut State) {
    for app in std::mem::take(&mut state.stale_routes) {
        routes.set_endpoints(app, state.endpoints(app));
    }
}

/// Tasks that have no cell yet. Those that are known already stay as they are.
fn want_tasks(state: &mut State, tasks: &[OpenTask]) {
    for open in tasks.iter().filter(|open| open.placed().is_none()) {
        state.apply(Event::Task(open.desired()));
    }
}

/// One line for all instances of a process, of which there can be thousands.
fn tell_who_waits(decisions: &[Decision]) {
    let mut waiting = BTreeMap::<_, usize>::new();
    for decision in decisions {
        if let Decision::Blocked { process, why, .. } = decision {
            *waiting.entry((*process, why.to_string())).or_default() += 1;
        }
    }
    for ((process, why), instances) in waiting {
        tracing::info!(process.guid = %process, instances, %why, "instances wait for room");
    }
}
