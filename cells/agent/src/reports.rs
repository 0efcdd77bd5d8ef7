//! The newest report of every instance and task, and which of them a session has not sent yet.
//!
//! Only the newest state of each is kept: a session that was away catches up with what is, not with what was.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::ids::{InstanceId, TaskId};
use model::instance::InstanceReport;
use model::protocol::cell::CellMessage;
use model::task::TaskReport;
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Reports {
    inner: Mutex<Inner>,
    revision: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    strangers: Vec<String>,
    instances: BTreeMap<InstanceId, (u64, InstanceReport)>,
    tasks: BTreeMap<TaskId, (u64, TaskReport)>,
}

impl Reports {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::default(),
            revision: watch::Sender::new(0),
        }
    }

    pub(crate) fn put_instance(&self, report: InstanceReport) {
        let mut inner = self.lock();
        self.revision.send_modify(|revision| {
            *revision += 1;
            inner.instances.insert(report.instance, (*revision, report));
        });
    }

    pub(crate) fn put_task(&self, report: TaskReport) {
        let mut inner = self.lock();
        self.revision.send_modify(|revision| {
            *revision += 1;
            inner.tasks.insert(report.task, (*revision, report));
        });
    }

    /// Containers that the ledger does not know, from now on.
    pub(crate) fn set_strangers(&self, names: Vec<String>) {
        self.lock().strangers = names;
    }

    pub(crate) fn forget_stranger(&self, name: &str) {
        self.lock().strangers.retain(|known| known != name);
    }

    pub(crate) fn forget_instance(&self, instance: InstanceId) {
        self.lock().instances.remove(&instance);
    }

    pub(crate) fn forget_task(&self, task: TaskId) {
        self.lock().tasks.remove(&task);
    }

    /// The full report, and the revision it stands at.
    pub(crate) fn full(&self) -> (u64, CellMessage) {
        let inner = self.lock();
        let instances = inner
            .instances
            .values()
            .map(|(_, report)| report.clone())
            .collect();
        let tasks = inner
            .tasks
            .values()
            .map(|(_, report)| report.clone())
            .collect();
        (
            *self.revision.borrow(),
            CellMessage::Report {
                instances,
                tasks,
                strangers: inner.strangers.clone(),
            },
        )
    }

    /// What changed after `revision`, in the order in which it changed, and the revision that this leads to.
    pub(crate) fn since(&self, revision: u64) -> (u64, Vec<CellMessage>) {
        let inner = self.lock();
        let instances = inner.instances.values().filter(|(at, _)| *at > revision);
        let tasks = inner.tasks.values().filter(|(at, _)| *at > revision);
        let mut changes: Vec<_> = instances
            .map(|(at, report)| (*at, CellMessage::Instance(report.clone())))
            .chain(tasks.map(|(at, report)| (*at, CellMessage::Task(report.clone()))))
            .collect();
        changes.sort_by_key(|(at, _)| *at);
        (
            *self.revision.borrow(),
            changes.into_iter().map(|(_, message)| message).collect(),
        )
    }

    /// Wakes when there is something new.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
