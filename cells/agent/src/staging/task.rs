//! One build in the cell's books: its record, its log, and the order to cancel.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cells_engine::Engine;
use model::ids::TaskId;
use model::log::LogSource;
use model::task::TaskState;
use tokio_util::sync::CancellationToken;

use crate::cell::Cell;
use crate::clock;
use crate::ledger::TaskRecord;
use crate::logs::{LogMeta, LogSet, Logs};

/// One build the cell knows of, also after its end until the server has the result.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    record: Mutex<TaskRecord>,
    pub(super) logs: Arc<LogSet>,
    pub(crate) cancel: CancellationToken,
}

impl Task {
    pub(crate) fn new(record: TaskRecord, logs: Arc<LogSet>) -> Arc<Self> {
        Arc::new(Self {
            id: record.task,
            record: Mutex::new(record),
            logs,
            cancel: CancellationToken::new(),
        })
    }

    pub(crate) fn record(&self) -> TaskRecord {
        self.lock().clone()
    }

    /// Moves the task on: ledger first, then the report. Blocks.
    pub(crate) fn apply<E: Engine>(&self, cell: &Cell<E>, state: TaskState) -> std::io::Result<()> {
        let mut record = self.lock();
        if matches!(record.state, TaskState::Done { .. }) {
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

    /// Puts the log of an ended task in its last place. Blocks.
    pub(crate) fn end_logs(&self, logs: &Logs) -> std::io::Result<()> {
        logs.end(&self.logs)
    }

    fn lock(&self) -> MutexGuard<'_, TaskRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn log_meta(record: &TaskRecord) -> LogMeta {
    let name = record.task.to_string();
    LogMeta {
        app: record.app,
        source: LogSource::Staging,
        notes: LogSource::Staging,
        index: 0,
        name,
    }
}
