//! Ends of instances: each is counted once, and a crash sets the time of the next start.

use model::ids::{ProcessId, VersionId};
use model::instance::Exit;

use crate::Scheduler;
use crate::events::Said;
use crate::restart::{Restart, count_after, is_crash, restart};
use crate::state::{Crash, Slot};
use crate::types::Time;

impl Scheduler {
    pub(crate) fn exited(&mut self, now: Time, cell: u32, said: &Said, exit: Exit) {
        self.ended.insert(said.instance);
        if let Some(forgotten) = self.cells.get_mut(cell).remember_exit(said.instance) {
            self.ended.remove(&forgotten);
        }
        if let Some(&key) = self.instance_keys.get(&said.instance) {
            if self.instances[key].cell != cell {
                return;
            }
            let was_wanted = self.instances[key].stays();
            self.remove_instance(now, key);
            if was_wanted {
                self.crashed(now, said, exit);
            }
            return;
        }
        // Never seen alive. It matters only where nothing newer is known, as after a change of leader.
        let Some(&process) = self.process_keys.get(&said.process) else {
            return;
        };
        if self.processes[process].desired_at(said.index).is_none() {
            return;
        }
        let slot = self.processes[process]
            .slots
            .entry(said.index)
            .or_insert_with(|| Slot::new(now));
        // The last crash that an earlier leader counted, or one before that.
        let is_counted = slot
            .crash
            .as_ref()
            .is_some_and(|crash| crash.last == said.instance || now <= crash.at);
        if !slot.touched && !is_counted {
            slot.touched = true;
            self.crashed(now, said, exit);
        }
        self.mark(process, said.index);
    }

    /// Counts a crash, if this end is one, and sets the time of the restart.
    fn crashed(&mut self, now: Time, said: &Said, exit: Exit) {
        let Some(&key) = self.process_keys.get(&said.process) else {
            return;
        };
        let process = &self.processes[key];
        let is_current = process
            .desired_at(said.index)
            .is_some_and(|here| here.version == said.version);
        let Some(slot) = process.slots.get(&said.index) else {
            return;
        };
        let has_other = slot.instances.iter().any(|&other| {
            self.instances[other].stays() && self.instances[other].version == said.version
        });
        if !is_crash(&exit) || !is_current || has_other {
            return;
        }
        let count = count_after(slot.crash.as_ref().map_or(0, |crash| crash.count), &exit);
        self.set_crash(
            now,
            key,
            said.index,
            Crash {
                count,
                last: said.instance,
                exit,
                at: now,
                given_up: false,
            },
        );
    }

    fn set_crash(&mut self, at: Time, key: u32, index: u32, mut crash: Crash) {
        let not_before = match restart(crash.count) {
            Restart::Now => None,
            Restart::After(wait) => Some(at.after(wait)),
            Restart::Never => {
                crash.given_up = true;
                None
            }
        };
        let slot = self.processes[key]
            .slots
            .entry(index)
            .or_insert_with(|| Slot::new(at));
        slot.crash = Some(Box::new(crash));
        slot.since = at;
        self.set_timer(key, index, not_before);
        self.mark(key, index);
    }

    pub(crate) fn set_timer(&mut self, key: u32, index: u32, not_before: Option<Time>) {
        let Some(slot) = self.processes[key].slots.get_mut(&index) else {
            return;
        };
        if let Some(old) = slot.not_before.take() {
            self.timers.remove(&(old, key, index));
        }
        if let Some(time) = not_before {
            slot.not_before = Some(time);
            self.timers.insert((time, key, index));
        }
    }

    pub(crate) fn crash_history(
        &mut self,
        at: Time,
        process: ProcessId,
        index: u32,
        (version, crash): (VersionId, Crash),
    ) {
        let Some(&key) = self.process_keys.get(&process) else {
            return;
        };
        let desired = self.processes[key].desired_at(index);
        let is_known = self.processes[key]
            .slots
            .get(&index)
            .is_some_and(|slot| slot.crash.is_some());
        if desired.is_some_and(|here| here.version == version) && !is_known && crash.count > 0 {
            self.set_crash(at, key, index, crash);
        }
    }

    /// Clears crash counts and timers.
    pub(crate) fn forgive_all(&mut self, key: u32) {
        self.forgive(key, |_| true);
    }

    /// Clears crash counts and timers of the indices that `concerns` picks.
    pub(crate) fn forgive(&mut self, key: u32, concerns: impl Fn(u32) -> bool) {
        let has_settled = self.awaited.is_empty();
        let process = &mut self.processes[key];
        if has_settled {
            process.inherited = 0;
        }
        for (&index, slot) in &mut process.slots {
            if !concerns(index) {
                continue;
            }
            slot.crash = None;
            slot.refusals = 0;
            slot.bereft = false;
            if let Some(time) = slot.not_before.take() {
                self.timers.remove(&(time, key, index));
            }
        }
    }
}
