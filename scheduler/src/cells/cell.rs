//! One cell: what it offers, what is taken of it, and what is there.

use std::collections::{BTreeSet, VecDeque};

use model::ids::{CellId, InstanceId};
use model::limits::Limits;
use model::protocol::cell::CellCapacity;

/// How many ended instances are remembered for each cell, so that late words about them are not believed.
const REMEMBERED_EXITS: usize = 256;

/// MiB that a piece of work takes from a cell, besides one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    pub(crate) memory: u32,
    pub(crate) disk: u32,
}

impl From<Limits> for Need {
    fn from(limits: Limits) -> Self {
        Self {
            memory: limits.memory.0,
            disk: limits.disk.0,
        }
    }
}

/// What is taken, in MiB. Can exceed the capacity: a cell may shrink, or return with more than it should have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) memory: u64,
    pub(crate) disk: u64,
    pub(crate) containers: u32,
}

#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) id: CellId,
    pub(crate) up: bool,
    pub(crate) zone: u32,
    pub(crate) stack: u32,
    pub(crate) capacity: CellCapacity,
    pub(crate) used: Used,
    /// Instances booked here, in no order.
    pub(crate) instances: Vec<u32>,
    pub(crate) tasks: BTreeSet<u32>,
    /// Newest last.
    pub(super) exits: VecDeque<InstanceId>,
    pub(super) pool: u32,
    /// The bucket under which its pool lists it.
    pub(super) listed: Option<u32>,
}

impl Cell {
    pub(crate) fn free_memory(&self) -> u32 {
        u64::from(self.capacity.memory.0).saturating_sub(self.used.memory) as u32
    }

    pub(super) fn free_disk(&self) -> u32 {
        u64::from(self.capacity.disk.0).saturating_sub(self.used.disk) as u32
    }

    pub(super) fn free_containers(&self) -> u32 {
        self.capacity
            .containers
            .saturating_sub(self.used.containers)
    }

    pub(crate) fn fits(&self, need: Need) -> bool {
        self.up
            && self.free_containers() > 0
            && self.free_memory() >= need.memory
            && self.free_disk() >= need.disk
    }

    /// Remembers an ended instance and returns the one that is forgotten for it.
    pub(crate) fn remember_exit(&mut self, instance: InstanceId) -> Option<InstanceId> {
        self.exits.push_back(instance);
        if self.exits.len() > REMEMBERED_EXITS {
            self.exits.pop_front()
        } else {
            None
        }
    }
}
