//! What happened or was asked for, taken into the state. Nothing is decided here; what may need a decision is marked.

use model::ids::{CellId, InstanceId, ProcessId, VersionId};
use model::instance::InstanceState;

use crate::Scheduler;
use crate::cells::Need;
use crate::life::Placed;
use crate::restart::wait_after_refusals;
use crate::state::{Crash, Desired, Phase, Process, Slot};
use crate::types::{DesiredProcess, Event, StopReason, Time};
use crate::work::Want;

impl Scheduler {
    /// Takes note of an event that happened at `now`. Every event may be repeated.
    pub fn apply(&mut self, now: Time, event: Event) {
        self.now = self.now.max(now);
        match event {
            Event::CellUp {
                cell,
                zone,
                stack,
                capacity,
            } => {
                self.cell_up(cell, |cells, key| {
                    cells.bring_up(key, &zone, &stack, capacity);
                });
                self.found(now, cell);
            }
            Event::CellDown { cell, silent } => self.cell_down(now, cell, silent),
            Event::Desire(wish) => self.desire(now, wish),
            Event::Undesire { process } => self.undesire(process),
            Event::Instance {
                cell,
                process,
                version,
                index,
                instance,
                state,
            } => {
                self.instance_said(
                    now,
                    Said {
                        cell,
                        process,
                        version,
                        index,
                        instance,
                    },
                    state,
                );
            }
            Event::InstanceGone { cell, instance } => self.instance_gone(now, cell, instance),
            Event::Task(wish) => self.desire_task(wish),
            Event::TaskEnded { task } => self.forget_task(task),
            Event::TaskPlaced { task, cell } => self.task_placed(task, cell),
            Event::RestartInstance { process, index } => self.restart_instance(process, index),
            Event::Inherit { cells } => self.inherit(cells),
            Event::CrashHistory {
                process,
                version,
                index,
                instance,
                crash_count,
                at,
                exit,
            } => {
                let history = (
                    version,
                    Crash {
                        count: crash_count,
                        last: instance,
                        exit,
                        at,
                        given_up: false,
                    },
                );
                self.crash_history(at, process, index, history);
            }
        }
    }

    fn cell_up(&mut self, cell: CellId, bring_up: impl FnOnce(&mut crate::cells::Cells, u32)) {
        let key = self.cells.intern(cell);
        let first = self.cells.up() == 0;
        // Counts are kept by zone, and the zone may be another from now on.
        let here = self.cells.get(key).instances.clone();
        let counted: Vec<u32> = here
            .into_iter()
            .filter(|&instance| self.uncount(instance))
            .collect();
        bring_up(&mut self.cells, key);
        for instance in counted {
            self.count(instance);
        }
        for task in self.cells.get(key).tasks.clone() {
            self.book_task(task);
        }
        let stack = self.cells.get(key).stack;
        self.work
            .unblock(|want| first || want.stack.is_none_or(|wanted| wanted == stack));
    }

    fn cell_down(&mut self, now: Time, cell: CellId, silent: usize) {
        let was_there = self.awaited.contains(&cell);
        let Some(key) = self.cells.key(cell) else {
            if was_there {
                self.lost(now, cell, silent);
            }
            return;
        };
        let was_there = was_there || self.cells.get(key).up;
        self.cells.take_down(key);
        while let Some(&instance) = self.cells.get(key).instances.last() {
            self.bereave(now, instance);
        }
        if was_there {
            self.lost(now, cell, silent);
        }
        for task in self.cells.get(key).tasks.clone() {
            self.forget_task(self.tasks[task].id);
        }
        let (stack, last) = (self.cells.get(key).stack, self.cells.up() == 0);
        self.work
            .unblock(|want| last || want.stack.is_none_or(|wanted| wanted == stack));
    }

    fn desire(&mut self, now: Time, wish: DesiredProcess) {
        let key = self.intern_process(wish.process);
        let want = Want {
            stack: Some(self.cells.intern_stack(&wish.stack)),
            need: Need::from(wish.limits),
        };
        let older_want = wish.older.as_ref().map(|older| Want {
            stack: Some(self.cells.intern_stack(&older.stack)),
            need: Need::from(older.limits),
        });
        let process = &mut self.processes[key];
        let mut learned = false;
        if let (Some(older), Some(want)) = (&wish.older, older_want) {
            learned |= process.remember_size(older.version, want.need);
        }
        learned |= process.remember_size(wish.version, want.need);
        if learned {
            self.book_anew(key);
        }
        let process = &mut self.processes[key];
        let instances = wish.instances;
        let new = Desired {
            wish: wish.clone(),
            want,
            older_want,
        };
        let Some(old) = process.desired.replace(new) else {
            self.mark_all(key);
            return;
        };
        if old.wish.version != wish.version || old.wish.older != wish.older {
            let now_here = |index| {
                let older = wish.older.as_ref().filter(|older| index < older.below);
                older.map_or(wish.version, |older| older.version)
            };
            self.forgive(key, |index| old.here(index).version != now_here(index));
        }
        if (DesiredProcess {
            instances,
            ..old.wish.clone()
        }) != wish
        {
            self.mark_all(key);
        } else if old.wish.instances < instances {
            for index in old.wish.instances..instances {
                self.processes[key]
                    .slots
                    .entry(index)
                    .or_insert_with(|| Slot::new(now));
                self.mark(key, index);
            }
        } else {
            let extra: Vec<u32> = self.processes[key]
                .slots
                .range(instances..)
                .map(|slot| *slot.0)
                .collect();
            for index in extra {
                self.mark(key, index);
            }
        }
    }

    /// Instances that were reported before anybody here knew their version are booked by a guess, until now.
    fn book_anew(&mut self, process: u32) {
        let slots = self.processes[process].slots.values();
        let instances: Vec<u32> = slots.flat_map(|slot| slot.instances.clone()).collect();
        for key in instances {
            let instance = &self.instances[key];
            let (cell, before) = (instance.cell, instance.need);
            let need = self.processes[process].size_of(instance.version);
            if need == before {
                continue;
            }
            self.instances[key].need = need;
            self.cells.free(cell, before);
            self.cells.book(cell, need);
            self.offer(cell);
        }
    }

    fn undesire(&mut self, process: ProcessId) {
        let Some(&key) = self.process_keys.get(&process) else {
            return;
        };
        self.processes[key].desired = None;
        self.forgive_all(key);
        self.mark_all(key);
    }

    fn intern_process(&mut self, id: ProcessId) -> u32 {
        if let Some(&key) = self.process_keys.get(&id) {
            return key;
        }
        let key = self.processes.insert(Process::new(id));
        self.process_keys.insert(id, key);
        key
    }

    fn instance_said(&mut self, now: Time, said: Said, state: InstanceState) {
        let Some(cell) = self
            .cells
            .key(said.cell)
            .filter(|&cell| self.cells.get(cell).up)
        else {
            return;
        };
        if self.ended.contains(&said.instance) {
            return;
        }
        let phase = match state {
            InstanceState::Starting => Phase::Starting,
            InstanceState::Running { address } => Phase::Running(address),
            InstanceState::Stopping => Phase::Stopping,
            InstanceState::Exited { exit } => return self.exited(now, cell, &said, exit),
        };
        let key = match self.instance_keys.get(&said.instance) {
            Some(&key) if self.instances[key].cell == cell => key,
            Some(_) => return,
            None => self.discover(now, cell, &said),
        };
        self.progress(now, key, phase);
    }

    /// Takes in an instance that nobody here ordered: an earlier leader's, or one that was given up with its cell.
    fn discover(&mut self, now: Time, cell: u32, said: &Said) -> u32 {
        let &Said {
            version,
            index,
            instance: id,
            ..
        } = said;
        let process = self.intern_process(said.process);
        let need = self.processes[process].size_of(version);
        self.add_instance(
            now,
            Placed {
                id,
                process,
                index,
                version,
                cell,
                need,
                phase: Phase::Ordered,
            },
        )
    }

    /// A life only goes forward; what comes late is not believed.
    fn progress(&mut self, now: Time, key: u32, phase: Phase) {
        let instance = &mut self.instances[key];
        if phase.step() < instance.phase.step()
            || (phase == instance.phase && instance.stop.is_none())
        {
            return;
        }
        if phase.step() > instance.phase.step() {
            instance.since = now;
        }
        instance.phase = phase;
        let (process, index) = (instance.process, instance.index);
        match &mut instance.stop {
            // It was told to stop, and the cell does not seem to know.
            Some(stop) if phase != Phase::Stopping => stop.ordered = false,
            _ => {}
        }
        if phase == Phase::Stopping {
            self.uncount(key);
        }
        if let Some(slot) = self.processes[process].slots.get_mut(&index) {
            slot.refusals = 0;
        }
        self.mark(process, index);
    }

    fn instance_gone(&mut self, now: Time, cell: CellId, instance: InstanceId) {
        let Some(&key) = self.instance_keys.get(&instance) else {
            return;
        };
        if self.cells.key(cell) != Some(self.instances[key].cell) {
            return;
        }
        let Placed {
            process,
            index,
            phase,
            ..
        } = self.remove_instance(now, key);
        let Some(slot) = self.processes[process].slots.get_mut(&index) else {
            return;
        };
        if phase == Phase::Ordered {
            slot.refusals = slot.refusals.saturating_add(1);
            if let Some(wait) = wait_after_refusals(slot.refusals)
                && slot.not_before.is_none()
            {
                self.set_timer(process, index, Some(now.after(wait)));
            }
        }
    }

    fn restart_instance(&mut self, process: ProcessId, index: u32) {
        let Some(&key) = self.process_keys.get(&process) else {
            return;
        };
        let Some(slot) = self.processes[key].slots.get_mut(&index) else {
            return;
        };
        slot.crash = None;
        slot.refusals = 0;
        slot.bereft = false;
        for instance in slot.instances.clone() {
            if self.instances[instance].stays() {
                self.doom(instance, StopReason::Restarted);
            }
        }
        self.set_timer(key, index, None);
        self.mark(key, index);
    }
}

/// Whom a report is about.
pub(crate) struct Said {
    pub(crate) cell: CellId,
    pub(crate) process: ProcessId,
    pub(crate) version: VersionId,
    pub(crate) index: u32,
    pub(crate) instance: InstanceId,
}
