//! From changes to decisions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Scheduler;
use crate::life::Placed;
use crate::state::{Phase, TaskPlace};
use crate::types::{Decision, PlacementError, Plan, Time};
use crate::work::{Target, Turn, Want};

/// A plan in the making, which takes a bounded number of decisions.
pub(crate) struct Draft {
    decisions: Vec<Decision>,
    budget: usize,
}

impl Draft {
    pub(crate) fn is_full(&self) -> bool {
        self.decisions.len() >= self.budget
    }

    pub(crate) fn push(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }
}

impl Scheduler {
    /// Decides, at most `budget` things. Placements are booked as pending at once. What did not fit into the budget stays
    /// marked, and [`Scheduler::next_wake`] is then due.
    ///
    /// Stops come first, then starts in Diego's order (index 0 of every process, tasks, the other indices; larger memory
    /// first), then reasons why work waits.
    pub fn plan(&mut self, now: Time, budget: usize) -> Plan {
        self.now = self.now.max(now);
        self.expire_brake();
        self.ring_timers();
        let mut draft = Draft {
            decisions: Vec::new(),
            budget,
        };
        self.converge(&mut draft);
        self.place(&mut draft);
        while !draft.is_full()
            && let Some((turn, why)) = self.work.tell()
        {
            draft.push(match turn.target {
                Target::Index { process } => Decision::Blocked {
                    process: self.processes[process].id,
                    index: turn.index,
                    why,
                },
                Target::Task { task } => Decision::TaskBlocked {
                    task: self.tasks[task].id,
                    why,
                },
            });
        }
        Plan {
            decisions: draft.decisions,
        }
    }

    /// When time alone would change the plan: the last time heard where something is left to decide now, else the next
    /// restart of a crashed instance or the release of the brake. None: nothing changes until the next event.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        if !self.dirty.is_empty() || self.work.is_pending() {
            return Some(self.now);
        }
        let timer = self.timers.first().map(|timer| timer.0);
        [timer, self.brake.until()].into_iter().flatten().min()
    }

    fn ring_timers(&mut self) {
        while let Some(&timer) = self.timers.first()
            && timer.0 <= self.now
        {
            self.timers.remove(&timer);
            let (_, process, index) = timer;
            if let Some(slot) = self.processes[process].slots.get_mut(&index) {
                slot.not_before = None;
            }
            self.mark(process, index);
        }
    }

    fn place(&mut self, draft: &mut Draft) {
        let heads = self
            .work
            .ready()
            .filter_map(|group| Some(Reverse((self.priority(group)?, group))));
        let mut heads: BinaryHeap<_> = heads.collect();
        while let Some(Reverse((_, group))) = heads.pop() {
            if draft.is_full() {
                return;
            }
            let want = self.work.want(group);
            let turn = self
                .work
                .head(group)
                .expect("a group is in the heap while it has turns");
            match self.try_turn(&turn, want, draft) {
                Ok(()) => {
                    self.work.remove(group, &turn);
                    heads.extend(self.priority(group).map(|next| Reverse((next, group))));
                }
                Err(reason) => self.work.block(group, reason),
            }
        }
    }

    fn priority(&self, group: u32) -> Option<impl Ord + use<>> {
        self.work
            .head(group)
            .map(|turn| turn.priority(&self.work.want(group)))
    }

    fn try_turn(
        &mut self,
        turn: &Turn,
        want: Want,
        draft: &mut Draft,
    ) -> Result<(), PlacementError> {
        match turn.target {
            Target::Index { process } => self.start(process, turn.index, want, draft),
            Target::Task { task } => self.start_task(task, want, draft),
        }
    }

    fn start(
        &mut self,
        key: u32,
        index: u32,
        want: Want,
        draft: &mut Draft,
    ) -> Result<(), PlacementError> {
        let process = &mut self.processes[key];
        let stack = want.stack.expect("an instance wants a stack");
        let picked = self.cells.pick(stack, want.need, &process.spread);
        let cell = picked.ok_or_else(|| self.cells.shortage(want.stack, want.need))?;
        let version = process
            .desired_at(index)
            .expect("what waits is desired")
            .version;
        let slot = process
            .slots
            .get_mut(&index)
            .expect("what waits has a slot");
        slot.waits_in = None;
        let process_id = process.id;
        let instance = self.fresh_id();
        let placed = Placed {
            id: instance,
            process: key,
            index,
            version,
            cell,
            need: want.need,
            phase: Phase::Ordered,
        };
        self.add_instance(self.now, placed);
        let cell = self.cells.get(cell).id;
        draft.push(Decision::Start {
            instance,
            process: process_id,
            version,
            index,
            cell,
        });
        Ok(())
    }

    /// An id that no known instance has, even if the seed was used before.
    fn fresh_id(&mut self) -> model::ids::InstanceId {
        loop {
            let id = self.ids.next_id();
            if !self.instance_keys.contains_key(&id) && !self.ended.contains(&id) {
                return id;
            }
        }
    }

    fn start_task(
        &mut self,
        key: u32,
        want: Want,
        draft: &mut Draft,
    ) -> Result<(), PlacementError> {
        let picked = self.cells.pick_for_task(want.stack, want.need);
        let cell = picked.ok_or_else(|| self.cells.shortage(want.stack, want.need))?;
        let name = self.cells.get(cell).id;
        self.cells.book(cell, want.need);
        self.cells.get_mut(cell).tasks.insert(key);
        let task = &mut self.tasks[key];
        task.place = TaskPlace::On {
            cell,
            name,
            booked: Some(want.need),
        };
        draft.push(Decision::StartTask {
            task: task.id,
            cell: name,
        });
        Ok(())
    }
}
