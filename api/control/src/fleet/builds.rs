//! Builds as cells report them: how they ended, and which of them are lost.

use std::collections::HashSet;

use model::ids::{CellId, TaskId};
use model::protocol::cell::OrderBody;
use model::task::{StagingFailure, TaskOutcome, TaskReport, TaskState};
use scheduler::{DesiredTask, Event};

use super::{Fleet, orders};

impl Fleet {
    pub(super) async fn take_task(&self, cell: CellId, report: TaskReport) -> store::Result<()> {
        let TaskState::Done { outcome } = report.state else {
            return Ok(());
        };
        self.finish_task(report.task, outcome).await?;
        self.state()
            .send(cell, OrderBody::ForgetTask { task: report.task });
        Ok(())
    }

    pub(super) async fn finish_task(
        &self,
        task: TaskId,
        outcome: TaskOutcome,
    ) -> store::Result<()> {
        orders::finish_build(&self.inner.store, task, outcome).await?;
        self.state().end_task(task);
        self.inner.changed.notify_one();
        Ok(())
    }

    /// Takes over the builds of a full report. Those that were sent to this cell and that it does not know are lost, since
    /// they run at most once; `lost` are those that this server sent. Those that nobody waits for are cancelled.
    pub(super) async fn take_tasks(
        &self,
        cell: CellId,
        reports: Vec<TaskReport>,
        lost: &HashSet<TaskId>,
    ) -> store::Result<()> {
        let mut live = HashSet::new();
        for report in reports {
            if !matches!(report.state, TaskState::Done { .. }) {
                live.insert(report.task);
            }
            self.take_task(cell, report).await?;
        }
        let mut unwanted = live.clone();
        for build in self.inner.store.list_staging_builds().await? {
            unwanted.remove(&build.task);
            let Some(placed) = build.placed.filter(|placed| placed.cell == cell) else {
                continue;
            };
            if live.contains(&build.task) {
                // An earlier server placed it: now its room is booked too.
                let mut state = self.state();
                if state.scheduler.task(build.task).is_some() {
                    state.apply(Event::Task(DesiredTask {
                        task: build.task,
                        limits: build.limits,
                        stack: None,
                    }));
                }
            } else if lost.contains(&build.task) || placed.epoch < self.inner.epoch {
                self.finish_task(
                    build.task,
                    TaskOutcome::Failed {
                        failure: StagingFailure::CellLost,
                    },
                )
                .await?;
            }
        }
        for task in unwanted {
            self.cancel_task(task);
        }
        Ok(())
    }
}
