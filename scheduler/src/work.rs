//! What waits for a cell. Work of equal need waits in one group: when one piece of it finds no cell, none does, and
//! the group sleeps until a cell has room for such a need. So a plan never looks at work that cannot be placed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::cells::Need;
use crate::types::PlacementError;

/// What a piece of work asks of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Want {
    /// None: any.
    pub(crate) stack: Option<u32>,
    pub(crate) need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Index { process: u32 },
    Task { task: u32 },
}

/// A place in the queue, in Diego's order: first index 0 of every process, then tasks, then the other indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    phase: u8,
    pub(crate) index: u32,
    owner: Uuid,
    pub(crate) target: Target,
}

impl Turn {
    pub(crate) fn of_index(process: u32, owner: Uuid, index: u32) -> Self {
        Self {
            phase: if index == 0 { 0 } else { 2 },
            index,
            owner,
            target: Target::Index { process },
        }
    }

    pub(crate) fn of_task(task: u32, owner: Uuid) -> Self {
        Self {
            phase: 1,
            index: 0,
            owner,
            target: Target::Task { task },
        }
    }

    /// Order between groups: at equal index, larger memory goes first.
    pub(crate) fn priority(&self, want: &Want) -> (u8, u32, Reverse<u32>, Uuid) {
        (
            self.phase,
            self.index,
            Reverse(want.need.memory),
            self.owner,
        )
    }
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) want: Want,
    turns: BTreeSet<Turn>,
    blocked: bool,
    /// The reason last found; the turns in `untold` have not heard it.
    reason: Option<PlacementError>,
    untold: BTreeSet<Turn>,
}

#[derive(Debug, Default)]
pub(crate) struct Work {
    groups: Vec<Group>,
    by_want: BTreeMap<Want, u32>,
    unused: Vec<u32>,
    ready: BTreeSet<u32>,
    blocked: BTreeSet<u32>,
    /// Blocked groups with something to say.
    telling: BTreeSet<u32>,
}

impl Work {
    /// Adds a turn and returns its group.
    pub(crate) fn add(&mut self, want: Want, turn: Turn) -> u32 {
        let key = match self.by_want.get(&want) {
            Some(&key) => key,
            None => self.new_group(want),
        };
        let group = &mut self.groups[key as usize];
        group.turns.insert(turn);
        if group.reason.is_some() {
            group.untold.insert(turn);
        }
        if group.blocked {
            self.telling.insert(key);
        } else {
            self.ready.insert(key);
        }
        key
    }

    fn new_group(&mut self, want: Want) -> u32 {
        let group = Group {
            want,
            turns: BTreeSet::new(),
            blocked: false,
            reason: None,
            untold: BTreeSet::new(),
        };
        let key = match self.unused.pop() {
            Some(key) => {
                self.groups[key as usize] = group;
                key
            }
            None => {
                self.groups.push(group);
                self.groups.len() as u32 - 1
            }
        };
        self.by_want.insert(want, key);
        key
    }

    pub(crate) fn remove(&mut self, key: u32, turn: &Turn) {
        let group = &mut self.groups[key as usize];
        group.turns.remove(turn);
        if group.untold.remove(turn) && group.untold.is_empty() {
            self.telling.remove(&key);
        }
        if group.turns.is_empty() {
            self.by_want.remove(&group.want);
            self.ready.remove(&key);
            self.blocked.remove(&key);
            self.unused.push(key);
        }
    }

    pub(crate) fn want(&self, key: u32) -> Want {
        self.groups[key as usize].want
    }

    /// The first turn of a group.
    pub(crate) fn head(&self, key: u32) -> Option<Turn> {
        self.groups[key as usize].turns.first().copied()
    }

    /// Groups that may be placed.
    pub(crate) fn ready(&self) -> impl Iterator<Item = u32> {
        self.ready.iter().copied()
    }

    /// Whether a plan made now would decide something.
    pub(crate) fn is_pending(&self) -> bool {
        !self.ready.is_empty() || !self.telling.is_empty()
    }

    /// No cell can take this group.
    pub(crate) fn block(&mut self, key: u32, reason: PlacementError) {
        let group = &mut self.groups[key as usize];
        if !group
            .reason
            .as_ref()
            .is_some_and(|old| old.is_same_cause(&reason))
        {
            group.untold = group.turns.clone();
        }
        group.reason = Some(reason);
        group.blocked = true;
        self.ready.remove(&key);
        self.blocked.insert(key);
        if !group.untold.is_empty() {
            self.telling.insert(key);
        }
    }

    /// Why a turn of this group is not placed.
    pub(crate) fn reason(&self, key: u32) -> Option<&PlacementError> {
        let group = &self.groups[key as usize];
        if group.blocked {
            group.reason.as_ref()
        } else {
            None
        }
    }

    /// Something changed for work that `concerns` picks: it is tried again.
    pub(crate) fn unblock(&mut self, concerns: impl Fn(&Want) -> bool) {
        let woken = self
            .blocked
            .iter()
            .copied()
            .filter(|&key| concerns(&self.groups[key as usize].want));
        for key in woken.collect::<Vec<_>>() {
            self.groups[key as usize].blocked = false;
            self.blocked.remove(&key);
            self.telling.remove(&key);
            self.ready.insert(key);
        }
    }

    /// The next turn that has to hear why it waits.
    pub(crate) fn tell(&mut self) -> Option<(Turn, PlacementError)> {
        let key = *self.telling.first()?;
        let group = &mut self.groups[key as usize];
        let turn = group
            .untold
            .pop_first()
            .expect("a telling group has something to tell");
        if group.untold.is_empty() {
            self.telling.remove(&key);
        }
        Some((
            turn,
            group.reason.clone().expect("a blocked group has a reason"),
        ))
    }
}
