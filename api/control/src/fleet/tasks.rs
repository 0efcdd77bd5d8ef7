//! Tasks as cells report them: builds and one-off tasks, how they ended, and which of them are lost.

use std::collections::HashSet;

use model::ids::{AppId, CellId, Incarnation, TaskId};
use model::protocol::cell::OrderBody;
use model::task::{StagingFailure, TaskOutcome, TaskReport, TaskState};
use scheduler::{DesiredTask, Event};
use store::records::{self, Build, Placement};
use store::{Store, TaskTeller};

use super::{Fleet, orders};

/// A task that has not ended. It is sent to a cell at most once, so it is placed in the store before its order leaves.
#[derive(Debug, Clone)]
pub(super) enum OpenTask {
    Build(Box<Build>),
    /// A one-off task: a command of an app.
    Command(Box<records::Task>),
}

impl OpenTask {
    pub(super) async fn list(store: &Store) -> store::Result<Vec<Self>> {
        let builds = store.list_staging_builds().await?;
        let commands = store.list_open_tasks().await?;
        let builds = builds.into_iter().map(|build| Self::Build(Box::new(build)));
        let commands = commands
            .into_iter()
            .map(|task| Self::Command(Box::new(task)));
        Ok(builds.chain(commands).collect())
    }

    pub(super) async fn find(store: &Store, task: TaskId) -> store::Result<Option<Self>> {
        if let Some(build) = store.find_build_by_task(task).await? {
            return Ok(Some(Self::Build(Box::new(build))));
        }
        let found = store.find_task(task).await?;
        Ok(found.map(|task| Self::Command(Box::new(task))))
    }

    pub(super) fn id(&self) -> TaskId {
        match self {
            Self::Build(build) => build.task,
            Self::Command(task) => task.id,
        }
    }

    pub(super) fn app(&self) -> AppId {
        match self {
            Self::Build(build) => build.app,
            Self::Command(task) => task.app,
        }
    }

    pub(super) fn placed(&self) -> Option<Placement> {
        match self {
            Self::Build(build) => build.placed,
            Self::Command(task) => task.placed,
        }
    }

    /// Whether somebody has asked for its end, and it goes on until its cell has obeyed.
    pub(super) fn is_canceling(&self) -> bool {
        matches!(self, Self::Command(task) if task.state == records::TaskState::Canceling)
    }

    pub(super) fn desired(&self) -> DesiredTask {
        match self {
            Self::Build(build) => DesiredTask {
                task: build.task,
                limits: build.limits,
                stack: None,
            },
            Self::Command(task) => desired(task),
        }
    }

    /// Notes where it is about to be sent. [`store::Error::Missing`] where it must not be: it was sent before, or has ended.
    pub(super) async fn place(&self, store: &Store, placement: Placement) -> store::Result<()> {
        match self {
            Self::Build(build) => store.place_build(build.task, placement).await,
            Self::Command(task) => store.place_task(task.id, placement).await,
        }
    }
}

/// A one-off task as the scheduler sees it.
pub(crate) fn desired(task: &records::Task) -> DesiredTask {
    DesiredTask {
        task: task.id,
        limits: task.limits,
        stack: Some(task.stack.clone()),
    }
}

impl Fleet {
    pub(super) async fn take_task(&self, cell: CellId, report: TaskReport) -> store::Result<()> {
        match report.state {
            TaskState::Accepted => Ok(()),
            TaskState::Started => {
                self.inner.store.start_task(report.task, cell).await?;
                Ok(())
            }
            TaskState::Done { outcome } => {
                self.finish_task(report.task, outcome, TaskTeller::Cell(cell))
                    .await?;
                self.state()
                    .send(cell, OrderBody::ForgetTask { task: report.task });
                Ok(())
            }
        }
    }

    pub(crate) async fn finish_task(
        &self,
        task: TaskId,
        outcome: TaskOutcome,
        teller: TaskTeller,
    ) -> store::Result<()> {
        if let Some(app) = orders::finish_task(&self.inner.store, task, outcome, teller).await? {
            self.inner.collector.look_at(app);
        }
        let mut state = self.state();
        let on = state.scheduler.task(task).and_then(|view| view.cell);
        // What another cell says of it frees nothing where it runs.
        let foreign = matches!((teller, on), (TaskTeller::Cell(cell), Some(on)) if cell != on);
        if !foreign {
            state.end_task(task);
        }
        drop(state);
        self.inner.changed.notify_one();
        Ok(())
    }

    /// The cell that had a task is gone, and with it whatever the task came to.
    pub(super) async fn lose_task(&self, task: TaskId) -> store::Result<()> {
        let outcome = TaskOutcome::Failed {
            failure: StagingFailure::CellLost,
        };
        self.finish_task(task, outcome, TaskTeller::Server).await
    }

    /// Which life of a cell is the one that speaks.
    fn incarnation(&self, cell: CellId) -> Option<Incarnation> {
        let state = self.state();
        state.cells.get(&cell).map(|link| link.hello.incarnation)
    }

    /// Takes over the tasks of a full report. Those that were sent to this cell and that it does not know are lost, since
    /// they run at most once; `lost` are those that this server sent. Those that nobody waits for are cancelled.
    pub(super) async fn take_tasks(
        &self,
        cell: CellId,
        reports: Vec<TaskReport>,
        lost: &HashSet<TaskId>,
    ) -> store::Result<()> {
        let incarnation = self.incarnation(cell);
        let mut live = HashSet::new();
        for report in reports {
            if !matches!(report.state, TaskState::Done { .. }) {
                live.insert(report.task);
            }
            self.take_task(cell, report).await?;
        }
        let mut unwanted = live.clone();
        for open in OpenTask::list(&self.inner.store).await? {
            let task = open.id();
            // One that was sent elsewhere has no business here.
            let Some(placed) = open.placed().filter(|placed| placed.cell == cell) else {
                continue;
            };
            unwanted.remove(&task);
            if live.contains(&task) {
                let mut state = self.state();
                if state.scheduler.task(task).is_some() {
                    // An earlier server placed it: now its room is booked too.
                    state.apply(Event::Task(open.desired()));
                }
                if open.is_canceling() {
                    state.send(cell, OrderBody::CancelTask { task });
                }
            } else if lost.contains(&task)
                || placed.epoch < self.inner.epoch
                || incarnation.is_some_and(|now| now != placed.incarnation)
            {
                self.lose_task(task).await?;
            }
        }
        for task in unwanted {
            self.end_unwanted(cell, task);
        }
        Ok(())
    }

    /// Has a cell end a task that is not its to run: it has ended for everybody else, or is another cell's.
    fn end_unwanted(&self, cell: CellId, task: TaskId) {
        let mut state = self.state();
        let here = state.scheduler.task(task).and_then(|view| view.cell) == Some(cell);
        if here {
            state.end_task(task);
        }
        state.send(cell, OrderBody::CancelTask { task });
    }
}
