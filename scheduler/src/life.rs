//! Instances appear, are doomed, and disappear; everything that counts them is kept in step here.

use model::ids::{InstanceId, VersionId};

use crate::Scheduler;
use crate::cells::Need;
use crate::state::{Dirty, Instance, Phase, Slot, Stop};
use crate::types::{StopReason, Time};

/// An instance on a cell.
pub(crate) struct Placed {
    pub(crate) id: InstanceId,
    pub(crate) process: u32,
    pub(crate) index: u32,
    pub(crate) version: VersionId,
    pub(crate) cell: u32,
    pub(crate) need: Need,
    pub(crate) phase: Phase,
}

impl Scheduler {
    pub(crate) fn add_instance(&mut self, now: Time, placed: Placed) -> u32 {
        let Placed {
            id,
            process,
            index,
            version,
            cell,
            need,
            phase,
        } = placed;
        let at = self.cells.get(cell).instances.len();
        let key = self.instances.insert(Instance {
            id,
            process,
            index,
            version,
            cell,
            at,
            need,
            phase,
            since: now,
            stop: None,
            counted: false,
        });
        self.instance_keys.insert(id, key);
        self.cells.get_mut(cell).instances.push(key);
        self.cells.book(cell, need);
        let desired = self.processes[process].desired_at(index);
        let is_current = desired.is_some_and(|here| here.version == version);
        let slot = self.processes[process]
            .slots
            .entry(index)
            .or_insert_with(|| Slot::new(now));
        slot.instances.push(key);
        slot.touched |= is_current;
        slot.bereft = false;
        if slot.not_before.is_some() {
            self.set_timer(process, index, None);
        }
        self.count(key);
        key
    }

    /// Forgets an instance and frees what it took.
    pub(crate) fn remove_instance(&mut self, now: Time, key: u32) -> Placed {
        self.uncount(key);
        let Instance {
            id,
            process,
            index,
            version,
            cell,
            at,
            need,
            phase,
            ..
        } = self.instances.remove(key);
        self.instance_keys.remove(&id);
        let here = &mut self.cells.get_mut(cell).instances;
        here.swap_remove(at);
        if let Some(&moved) = here.get(at) {
            self.instances[moved].at = at;
        }
        self.cells.free(cell, need);
        self.offer(cell);
        if let Some(slot) = self.processes[process].slots.get_mut(&index) {
            slot.instances.retain(|&other| other != key);
            slot.since = now;
        }
        self.mark(process, index);
        Placed {
            id,
            process,
            index,
            version,
            cell,
            need,
            phase,
        }
    }

    /// Forgets an instance that is gone with its cell, and that nobody wanted to go.
    pub(crate) fn bereave(&mut self, now: Time, key: u32) {
        let was_wanted = self.instances[key].stays();
        let Placed { process, index, .. } = self.remove_instance(now, key);
        let Some(slot) = self.processes[process].slots.get_mut(&index) else {
            return;
        };
        let has_other = slot
            .instances
            .iter()
            .any(|&other| self.instances[other].stays());
        slot.bereft |= was_wanted && !has_other;
    }

    /// Notes that an instance has to stop; `converge` makes the decision of it.
    pub(crate) fn doom(&mut self, key: u32, reason: StopReason) {
        self.uncount(key);
        self.instances[key].stop = Some(Stop {
            reason,
            ordered: false,
        });
    }

    pub(crate) fn count(&mut self, key: u32) {
        let instance = &mut self.instances[key];
        instance.counted = true;
        let zone = self.cells.get(instance.cell).zone;
        self.processes[instance.process]
            .spread
            .add(instance.cell, zone);
    }

    /// Takes an instance out of the spread of its process. Says whether it was in.
    pub(crate) fn uncount(&mut self, key: u32) -> bool {
        let instance = &mut self.instances[key];
        if !std::mem::replace(&mut instance.counted, false) {
            return false;
        }
        let zone = self.cells.get(instance.cell).zone;
        self.processes[instance.process]
            .spread
            .subtract(instance.cell, zone);
        true
    }

    /// A cell has more room than before: work that fits there is tried again.
    pub(crate) fn offer(&mut self, cell: u32) {
        let cell = self.cells.get(cell);
        self.work.unblock(|want| {
            want.stack.is_none_or(|stack| stack == cell.stack) && cell.fits(want.need)
        });
    }

    pub(crate) fn mark(&mut self, process: u32, index: u32) {
        if let Dirty::Some(indices) = &mut self.processes[process].dirty {
            indices.insert(index);
        }
        self.dirty.insert((self.processes[process].id, process));
    }

    pub(crate) fn mark_all(&mut self, process: u32) {
        self.processes[process].dirty = Dirty::All;
        self.dirty.insert((self.processes[process].id, process));
    }
}
