//! From what is desired and what is there to what should change, one index at a time.

use std::collections::BTreeSet;

use model::ids::VersionId;

use crate::Scheduler;
use crate::arena::Arena;
use crate::caution::Caution;
use crate::plan::Draft;
use crate::state::{Dirty, Instance, Process, Slot, Stop};
use crate::types::{Decision, StopReason, UpdateStrategy};

/// What has to happen at one index.
struct Verdict {
    stops: Vec<(u32, StopReason)>,
    start: bool,
    roll: Roll,
}

/// The part of an index in a rolling update.
#[derive(PartialEq)]
enum Roll {
    None,
    /// An old instance serves, and its turn has not come.
    Waits,
    /// A new instance is on its way beside the old one.
    Takes,
}

impl Scheduler {
    /// Looks at every index that changed. Stops early when the draft is full.
    pub(crate) fn converge(&mut self, draft: &mut Draft) {
        while let Some(&(id, key)) = self.dirty.first() {
            if !self.converge_process(key, draft) {
                return;
            }
            self.dirty.remove(&(id, key));
            let process = &self.processes[key];
            let is_blank = process.slots.is_empty() && process.inherited == 0;
            if process.desired.is_none() && is_blank {
                self.processes.remove(key);
                self.process_keys.remove(&id);
            }
        }
    }

    /// Returns false where the budget ended before the work; the rest stays marked.
    fn converge_process(&mut self, key: u32, draft: &mut Draft) -> bool {
        let process = &self.processes[key];
        let desired = process
            .desired
            .as_ref()
            .map_or(0, |desired| desired.wish.instances);
        let (extra, wanted): (Vec<u32>, Vec<u32>) = match &process.dirty {
            Dirty::All => (
                process.slots.range(desired..).map(|slot| *slot.0).collect(),
                (0..desired).collect(),
            ),
            Dirty::Some(indices) => (
                indices.range(desired..).copied().collect(),
                indices.range(..desired).copied().collect(),
            ),
        };
        for index in extra.into_iter().rev().chain(wanted) {
            if !self.converge_index(key, index, draft) {
                return false;
            }
        }
        self.processes[key].dirty = Dirty::Some(BTreeSet::new());
        self.roll_on(key, draft)
    }

    /// Gives the next outdated indices their turn.
    fn roll_on(&mut self, key: u32, draft: &mut Draft) -> bool {
        loop {
            let process = &mut self.processes[key];
            let Some(UpdateStrategy::Rolling { max_in_flight }) =
                process.desired.as_ref().map(|d| d.wish.update)
            else {
                return true;
            };
            if process.rolling.len() >= max_in_flight.max(1) as usize {
                return true;
            }
            let Some(index) = process.outdated.pop_first() else {
                return true;
            };
            process.rolling.insert(index);
            if !self.converge_index(key, index, draft) {
                self.mark(key, index);
                return false;
            }
        }
    }

    fn converge_index(&mut self, key: u32, index: u32, draft: &mut Draft) -> bool {
        let caution = self.caution();
        let process = &mut self.processes[key];
        if process.desired_at(index).is_some() {
            process
                .slots
                .entry(index)
                .or_insert_with(|| Slot::new(self.now));
        }
        let Some(slot) = process.slots.get(&index) else {
            return true;
        };
        let verdict = judge(process, index, slot, &self.instances, caution);
        let mut stops = verdict.stops;
        stops.sort_unstable_by_key(|stop| self.instances[stop.0].id);
        for (instance, reason) in stops {
            if draft.is_full() {
                return false;
            }
            self.uncount(instance);
            let instance = &mut self.instances[instance];
            instance.stop = Some(Stop {
                reason,
                ordered: true,
            });
            draft.push(Decision::Stop {
                instance: instance.id,
                cell: self.cells.get(instance.cell).id,
                reason,
            });
        }
        let process = &mut self.processes[key];
        mark_in(&mut process.outdated, index, verdict.roll == Roll::Waits);
        mark_in(&mut process.rolling, index, verdict.roll == Roll::Takes);
        self.queue(key, index, verdict.start);
        self.retire(key, index);
        true
    }

    /// Puts an index into the group it has to wait in, or takes it out.
    fn queue(&mut self, key: u32, index: u32, start: bool) {
        let process = &mut self.processes[key];
        let turn = process.turn(key, index);
        let want = process
            .desired_at(index)
            .filter(|_| start)
            .map(|here| here.want);
        let Some(slot) = process.slots.get_mut(&index) else {
            return;
        };
        match (slot.waits_in, want) {
            (Some(group), Some(want)) if self.work.want(group) == want => return,
            (Some(group), _) => self.work.remove(group, &turn),
            (None, _) => {}
        }
        slot.waits_in = want.map(|want| self.work.add(want, turn));
    }

    /// Clears what an index remembers that is not desired, and forgets it when nothing is left there.
    fn retire(&mut self, key: u32, index: u32) {
        let process = &mut self.processes[key];
        if process.desired_at(index).is_some() {
            return;
        }
        let Some(slot) = process.slots.get_mut(&index) else {
            return;
        };
        slot.crash = None;
        let is_empty = slot.instances.is_empty();
        self.set_timer(key, index, None);
        if is_empty {
            self.processes[key].slots.remove(&index);
        }
    }
}

fn mark_in(set: &mut BTreeSet<u32>, index: u32, is_in: bool) {
    if is_in {
        set.insert(index);
    } else if !set.is_empty() {
        set.remove(&index);
    }
}

fn judge(
    process: &Process,
    index: u32,
    slot: &Slot,
    instances: &Arena<Instance>,
    caution: Caution,
) -> Verdict {
    let mut verdict = judge_boldly(process, index, slot, instances);
    if caution.barrier {
        verdict.stops.clear();
    }
    verdict.start &= !caution.holds(process, index, slot);
    verdict
}

/// As if all that is known were all there is.
fn judge_boldly(
    process: &Process,
    index: u32,
    slot: &Slot,
    instances: &Arena<Instance>,
) -> Verdict {
    let mut stops: Vec<(u32, StopReason)> = Vec::new();
    for &key in &slot.instances {
        if let Some(Stop {
            reason,
            ordered: false,
        }) = instances[key].stop
        {
            stops.push((key, reason));
        }
    }
    let staying = || {
        slot.instances
            .iter()
            .copied()
            .filter(|&key| instances[key].stays())
    };
    let Some(here) = process.desired_at(index) else {
        stops.extend(staying().map(|key| (key, StopReason::NotDesired)));
        return Verdict {
            stops,
            start: false,
            roll: Roll::None,
        };
    };
    let version = here.version;
    let current = keep_one(staying(), version, true, instances, &mut stops);
    let old = keep_one(staying(), version, false, instances, &mut stops);
    let serves = |key: Option<u32>| key.is_some_and(|key| instances[key].phase.is_running());
    let makes_room = match here.update {
        UpdateStrategy::Recreate => true,
        UpdateStrategy::Rolling { .. } => serves(current) || !serves(old),
    };
    let old = match old {
        Some(key) if makes_room => {
            stops.push((key, StopReason::Replaced));
            None
        }
        other => other,
    };
    let roll = match old {
        None => Roll::None,
        Some(_) if current.is_some() || process.rolling.contains(&index) => Roll::Takes,
        Some(_) => Roll::Waits,
    };
    let start = current.is_none() && roll != Roll::Waits && slot.may_start();
    Verdict { stops, start, roll }
}

/// Of the instances that are (or are not) of this version, keeps the one that runs, or the older one, and stops the rest.
fn keep_one(
    keys: impl Iterator<Item = u32>,
    version: VersionId,
    is_current: bool,
    instances: &Arena<Instance>,
    stops: &mut Vec<(u32, StopReason)>,
) -> Option<u32> {
    let reason = if is_current {
        StopReason::Duplicate
    } else {
        StopReason::Replaced
    };
    let mut best: Option<u32> = None;
    for key in keys.filter(|&key| (instances[key].version == version) == is_current) {
        best = Some(match best {
            Some(other) if instances[key].seniority() < instances[other].seniority() => {
                stops.push((other, reason));
                key
            }
            Some(other) => {
                stops.push((key, reason));
                other
            }
            None => key,
        });
    }
    best
}
