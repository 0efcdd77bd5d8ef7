//! One instance in the cell's books: its record, its newest figures, and the order to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cells_engine::Engine;
use model::ids::InstanceId;
use model::instance::{ExitReason, InstanceEvent, InstanceState};
use model::log::LogSource;
use model::protocol::cell::InstanceUsage;
use tokio_util::sync::CancellationToken;

use crate::cell::Cell;
use crate::clock;
use crate::ledger::InstanceRecord;
use crate::logs::{LogMeta, LogSet};
use crate::watch::Sample;

/// One instance the cell knows of, also after its end until the server has taken note.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    record: Mutex<InstanceRecord>,
    pub(crate) logs: Arc<LogSet>,
    /// Cancelled when a stop was ordered.
    pub(crate) stop: CancellationToken,
    /// Whether requests may have been sent to it.
    served: AtomicBool,
    sample: Mutex<Option<Sample>>,
}

impl Instance {
    pub(crate) fn new(record: InstanceRecord, logs: Arc<LogSet>) -> Arc<Self> {
        Arc::new(Self {
            id: record.instance,
            served: AtomicBool::new(matches!(record.state, InstanceState::Running { .. })),
            record: Mutex::new(record),
            logs,
            stop: CancellationToken::new(),
            sample: Mutex::new(None),
        })
    }

    pub(crate) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) fn record(&self) -> InstanceRecord {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, InstanceRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest figures; none before there are any, and after the end.
    pub(crate) fn usage(&self) -> Option<InstanceUsage> {
        let sample = (*self.sample.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(InstanceUsage {
            instance: self.id,
            cpu: sample.cpu,
            memory_bytes: sample.usage.memory_bytes,
            disk_bytes: sample.usage.disk_bytes,
            log_rate: sample.log_rate,
        })
    }

    pub(super) fn note_sample(&self, sample: Option<Sample>) {
        *self.sample.lock().unwrap_or_else(PoisonError::into_inner) = sample;
    }

    /// Moves the instance on: ledger first, then the report. Refused transitions change nothing. Blocks.
    pub(crate) fn apply<E: Engine>(
        &self,
        cell: &Cell<E>,
        event: InstanceEvent,
        verdict: Option<ExitReason>,
    ) -> std::io::Result<()> {
        let mut record = self.lock();
        let next = match record.state.after(event) {
            Ok(next) => next,
            Err(refused) => {
                tracing::debug!(instance = %self.id, %refused, "nothing to do");
                return Ok(());
            }
        };
        if next == record.state {
            return Ok(());
        }
        if matches!(next, InstanceState::Running { .. }) {
            self.served.store(true, Ordering::Relaxed);
        }
        record.state = next;
        record.since_us = clock::now_us();
        record.verdict = verdict.or(record.verdict.take());
        let saved = cell.ledger.save_instance(&record);
        // What is true is reported also where the disk did not take it.
        cell.reports.put_instance(record.report());
        saved
    }
}

pub(crate) fn log_meta(record: &InstanceRecord) -> LogMeta {
    LogMeta {
        app: record.app,
        source: LogSource::App(record.process_type.clone()),
        notes: LogSource::Cell,
        index: record.index,
        name: record.instance.to_string(),
    }
}
