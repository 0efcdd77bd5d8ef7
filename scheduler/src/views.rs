//! What others may see of the state. Lists are sorted by id, so they do not depend on history.

use std::cmp::Reverse;

use model::ids::{CellId, InstanceId, ProcessId, TaskId, VersionId};
use model::limits::Megabytes;
use model::protocol::cell::CellCapacity;

use crate::Scheduler;
use crate::cells::Used;
use crate::state::{Instance, Phase, Process, Slot, TaskPlace};
use crate::types::{CellView, IndexStatus, IndexView, TaskView};

impl Scheduler {
    /// Every desired index of a process, and those that are too many and still there. Empty for an unknown process.
    #[must_use]
    pub fn process(&self, process: ProcessId) -> Vec<IndexView> {
        let Some(&key) = self.process_keys.get(&process) else {
            return Vec::new();
        };
        let process = &self.processes[key];
        let desired = process
            .desired
            .as_ref()
            .map_or(0, |desired| desired.wish.instances);
        let blank = Slot::new(self.now);
        let wanted = (0..desired)
            .map(|index| self.row(process, index, process.slots.get(&index).unwrap_or(&blank)));
        let extra = process
            .slots
            .range(desired..)
            .map(|(&index, slot)| self.row(process, index, slot));
        wanted.chain(extra).collect()
    }

    /// One index of a process, if it is desired or still there.
    #[must_use]
    pub fn index(&self, process: ProcessId, index: u32) -> Option<IndexView> {
        let process = &self.processes[*self.process_keys.get(&process)?];
        let slot = process.slots.get(&index)?;
        Some(self.row(process, index, slot))
    }

    /// Memory that is booked for nothing, on the cell that has most of it. None without a cell.
    #[must_use]
    pub fn largest_free_memory(&self) -> Option<Megabytes> {
        let up = self.cells.iter().filter(|cell| cell.up);
        up.map(|cell| Megabytes(cell.free_memory())).max()
    }

    fn row(&self, process: &Process, index: u32, slot: &Slot) -> IndexView {
        let version = process
            .desired
            .as_ref()
            .map(|desired| desired.here(index).version);
        let instances = slot.instances.iter().map(|&key| &self.instances[key]);
        let serving = instances.min_by_key(|instance| {
            let running = instance.phase.is_running();
            let step = if running || instance.stays() {
                instance.phase.step() + 1
            } else {
                0
            };
            (
                Reverse(step),
                !instance.stays(),
                Some(instance.version) != version,
                instance.since,
                instance.id,
            )
        });
        let blocked = slot
            .waits_in
            .and_then(|group| self.work.reason(group))
            .cloned()
            .or_else(|| {
                let is_empty = serving.is_none();
                is_empty.then(|| self.hold(process, index, slot)).flatten()
            });
        IndexView {
            index,
            instance: serving.map(|instance| instance.id),
            cell: serving.map(|instance| self.cells.get(instance.cell).id),
            version: serving.map(|instance| instance.version),
            status: serving.map_or_else(|| empty_status(slot), status),
            since: serving.map_or(slot.since, |instance| instance.since),
            crash_count: slot.crash.as_ref().map_or(0, |crash| crash.count),
            last_crash: slot.crash.as_ref().map(|crash| crash.last),
            blocked,
        }
    }

    /// Whether an instance is remembered to have ended; no later word of it counts.
    #[must_use]
    pub fn has_ended(&self, instance: InstanceId) -> bool {
        self.ended.contains(&instance)
    }

    /// Processes that are desired or still there.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessId> {
        let mut ids: Vec<ProcessId> = self.processes.iter().map(|process| process.id).collect();
        ids.sort_unstable();
        ids
    }

    /// Cells that are up.
    #[must_use]
    pub fn cells(&self) -> Vec<CellView> {
        let mut views: Vec<CellView> = self
            .cells
            .iter()
            .map(|cell| CellView {
                cell: cell.id,
                zone: self.cells.zone_name(cell.zone).to_owned(),
                stack: self.cells.stack_name(cell.stack).clone(),
                capacity: cell.capacity,
                used: capacity(cell.used),
            })
            .collect();
        views.sort_unstable_by_key(|view| view.cell);
        views
    }

    /// A task that was neither ended nor lost with its cell.
    #[must_use]
    pub fn task(&self, task: TaskId) -> Option<TaskView> {
        let &key = self.task_keys.get(&task)?;
        Some(match self.tasks[key].place {
            TaskPlace::Waits { group } => TaskView {
                task,
                cell: None,
                blocked: self.work.reason(group).cloned(),
            },
            TaskPlace::On { name, .. } => TaskView {
                task,
                cell: Some(name),
                blocked: None,
            },
        })
    }

    /// Instances that are booked on a cell, those without a word from it included. What a full report of the cell does
    /// not list of these is an [`crate::Event::InstanceGone`].
    #[must_use]
    pub fn instances_on(&self, cell: CellId) -> Vec<InstanceId> {
        let Some(key) = self.cells.key(cell) else {
            return Vec::new();
        };
        let here = &self.cells.get(key).instances;
        let mut ids: Vec<InstanceId> = here
            .iter()
            .map(|&instance| self.instances[instance].id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Tasks placed on a cell.
    #[must_use]
    pub fn tasks_on(&self, cell: CellId) -> Vec<TaskId> {
        let Some(key) = self.cells.key(cell) else {
            return Vec::new();
        };
        let mut ids: Vec<TaskId> = self
            .cells
            .get(key)
            .tasks
            .iter()
            .map(|&task| self.tasks[task].id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// How many indices of a process have a running instance of this version that is to stay.
    #[must_use]
    pub fn versions_running(&self, process: ProcessId, version: VersionId) -> u32 {
        let Some(&key) = self.process_keys.get(&process) else {
            return 0;
        };
        let runs = |&key: &u32| {
            let instance = &self.instances[key];
            instance.version == version && instance.phase.is_running() && instance.stays()
        };
        self.processes[key]
            .slots
            .values()
            .filter(|slot| slot.instances.iter().any(runs))
            .count() as u32
    }
}

fn status(instance: &Instance) -> IndexStatus {
    match instance.phase {
        Phase::Stopping => IndexStatus::Stopping,
        _ if !instance.stays() => IndexStatus::Stopping,
        Phase::Ordered | Phase::Starting => IndexStatus::Starting,
        Phase::Running(address) => IndexStatus::Running { address },
    }
}

fn empty_status(slot: &Slot) -> IndexStatus {
    match &slot.crash {
        Some(crash) if !slot.may_start() => IndexStatus::Crashed {
            restart_at: slot.not_before,
            exit: crash.exit.clone(),
        },
        _ => IndexStatus::Unplaced,
    }
}

fn capacity(used: Used) -> CellCapacity {
    let clamp = |mb: u64| Megabytes(u32::try_from(mb).unwrap_or(u32::MAX));
    CellCapacity {
        memory: clamp(used.memory),
        disk: clamp(used.disk),
        containers: used.containers,
    }
}
