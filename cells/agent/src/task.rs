//! One task in the cell's books, a build or a command of an app: its record, its log, and the order to cancel.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cells_engine::Engine;
use model::ids::TaskId;
use model::instance::{Exit, ExitReason};
use model::log::LogSource;
use model::task::{StagingFailure, TaskOutcome, TaskState};
use tokio_util::sync::CancellationToken;

use crate::cell::Cell;
use crate::clock;
use crate::ledger::{TaskRecord, TaskWork};
use crate::logs::{LogMeta, LogSet, Logs};

/// From where a task's life begins.
pub(crate) enum Start<S, C> {
    Fresh(Box<S>),
    /// Its container was started by an earlier agent.
    Adopted(C),
}

/// One task the cell knows of, also after its end until the server has the result.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    record: Mutex<TaskRecord>,
    pub(crate) logs: Arc<LogSet>,
    pub(crate) cancel: CancellationToken,
}

impl Task {
    pub(crate) fn new(record: TaskRecord, logs: Arc<LogSet>) -> Arc<Self> {
        let cancel = CancellationToken::new();
        if record.verdict == Some(ExitReason::Stopped) {
            cancel.cancel();
        }
        Arc::new(Self {
            id: record.task,
            record: Mutex::new(record),
            logs,
            cancel,
        })
    }

    pub(crate) fn record(&self) -> TaskRecord {
        self.lock().clone()
    }

    /// Moves the task on: ledger first, then the report. Blocks.
    pub(crate) fn apply<E: Engine>(&self, cell: &Cell<E>, state: TaskState) -> std::io::Result<()> {
        let mut record = self.lock();
        if record.is_done() {
            return Ok(());
        }
        let next = TaskRecord {
            state,
            since_us: clock::now_us(),
            ..record.clone()
        };
        let saved = cell.ledger.save_task(&next);
        // A start that is not on disk must not happen; every other change is true whether or not the disk took it.
        if saved.is_ok() || next.state != TaskState::Started {
            *record = next;
            cell.reports.put_task(record.report());
        }
        saved
    }

    /// Writes down why the task is about to be ended, so that an agent started anew knows it too. The first reason stays.
    /// Blocks.
    pub(crate) fn decide<E: Engine>(
        &self,
        cell: &Cell<E>,
        verdict: ExitReason,
    ) -> std::io::Result<()> {
        let mut record = self.lock();
        if record.is_done() || record.verdict.is_some() {
            return Ok(());
        }
        record.verdict = Some(verdict);
        cell.ledger.save_task(&record)
    }

    /// Writes down how many agents have begun to take in what the task left. Blocks.
    pub(crate) fn note_taken_in<E: Engine>(
        &self,
        cell: &Cell<E>,
        times: u32,
    ) -> std::io::Result<()> {
        let mut record = self.lock();
        record.taken_in = times;
        cell.ledger.save_task(&record)
    }

    /// Puts the log of an ended task in its last place. Blocks.
    pub(crate) fn end_logs(&self, logs: &Logs) -> std::io::Result<()> {
        logs.end(&self.logs)
    }

    fn lock(&self) -> MutexGuard<'_, TaskRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn log_meta(record: &TaskRecord) -> LogMeta {
    let (source, notes, index) = match &record.work {
        TaskWork::Build(_) => (LogSource::Staging, LogSource::Staging, 0),
        TaskWork::Command(work) => (
            LogSource::Task(work.name.clone()),
            LogSource::Cell,
            work.sequence,
        ),
    };
    LogMeta {
        app: record.app,
        source,
        notes,
        index,
        name: record.task.to_string(),
    }
}

/// The outcome of a task that has not ended and has no container when an agent starts. What it needs beyond its record went
/// with the earlier agent, and what has started must not start again.
pub(crate) fn lost(record: &TaskRecord, rebooted: bool) -> TaskOutcome {
    if record.verdict == Some(ExitReason::Stopped) {
        return TaskOutcome::Cancelled;
    }
    let message = match &record.state {
        _ if rebooted => "the cell's host was restarted",
        TaskState::Accepted => "the cell's agent was restarted before the task had started",
        _ => "its container was gone when the cell's agent started",
    };
    match &record.work {
        TaskWork::Build(_) => TaskOutcome::Failed {
            failure: StagingFailure::CellLost,
        },
        TaskWork::Command(_) => {
            let lost = ExitReason::Lost {
                message: message.to_owned(),
            };
            TaskOutcome::Ran {
                exit: Exit {
                    reason: record.verdict.clone().unwrap_or(lost),
                    status: None,
                    ran_ms: 0,
                    last_lines: Vec::new(),
                },
            }
        }
    }
}
