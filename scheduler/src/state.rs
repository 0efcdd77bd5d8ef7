//! What the scheduler remembers: processes with their indices, instances, tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use model::ids::{CellId, InstanceId, ProcessId, TaskId, VersionId};
use model::instance::Exit;
use model::limits::Limits;

use crate::cells::Need;
use crate::spread::Spread;
use crate::types::{DesiredProcess, DesiredTask, StopReason, Time, UpdateStrategy};
use crate::work::{Turn, Want};

/// How many versions of a process have their size remembered.
const REMEMBERED_VERSIONS: usize = 8;

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) desired: Option<Desired>,
    pub(crate) slots: BTreeMap<u32, Slot>,
    pub(crate) spread: Spread,
    pub(crate) dirty: Dirty,
    /// Indices that an old version serves until their turn in a rolling update comes.
    pub(crate) outdated: BTreeSet<u32>,
    /// Indices whose turn it is: a new instance waits, starts, or crashes beside the old one.
    pub(crate) rolling: BTreeSet<u32>,
    /// Indices below this were desired before this leader began. Zero once nothing is held back any more.
    pub(crate) inherited: u32,
    /// Newest last.
    sizes: Vec<(VersionId, Need)>,
}

#[derive(Debug)]
pub(crate) struct Desired {
    pub(crate) wish: DesiredProcess,
    pub(crate) want: Want,
    /// What the older version asks of a cell, where one is kept.
    pub(crate) older_want: Option<Want>,
}

/// What is desired at one index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    pub(crate) version: VersionId,
    pub(crate) want: Want,
    pub(crate) update: UpdateStrategy,
}

impl Desired {
    /// The version and needs of an index, were it desired.
    pub(crate) fn here(&self, index: u32) -> Here {
        let update = self.wish.update;
        match (&self.wish.older, self.older_want) {
            (Some(older), Some(want)) if index < older.below => Here {
                version: older.version,
                want,
                update,
            },
            _ => Here {
                version: self.wish.version,
                want: self.want,
                update,
            },
        }
    }
}

/// Which indices have to be looked at.
#[derive(Debug)]
pub(crate) enum Dirty {
    Some(BTreeSet<u32>),
    All,
}

impl Process {
    pub(crate) fn new(id: ProcessId) -> Self {
        Self {
            id,
            desired: None,
            slots: BTreeMap::new(),
            spread: Spread::default(),
            dirty: Dirty::Some(BTreeSet::new()),
            outdated: BTreeSet::new(),
            rolling: BTreeSet::new(),
            inherited: 0,
            sizes: Vec::new(),
        }
    }

    /// What is desired, if `index` is among it.
    pub(crate) fn desired_at(&self, index: u32) -> Option<Here> {
        self.desired
            .as_ref()
            .filter(|desired| index < desired.wish.instances)
            .map(|desired| desired.here(index))
    }

    pub(crate) fn turn(&self, key: u32, index: u32) -> Turn {
        Turn::of_index(key, self.id.as_uuid(), index)
    }

    /// Says whether the version was unknown before.
    pub(crate) fn remember_size(&mut self, version: VersionId, need: Need) -> bool {
        let known = self.sizes.len();
        self.sizes.retain(|size| size.0 != version);
        let is_new = self.sizes.len() == known;
        self.sizes.push((version, need));
        if self.sizes.len() > REMEMBERED_VERSIONS {
            self.sizes.remove(0);
        }
        is_new
    }

    /// The size of an instance that a cell reports. Reports do not carry it, so an unknown version is taken to be as
    /// large as the desired one.
    pub(crate) fn size_of(&self, version: VersionId) -> Need {
        let known = self
            .sizes
            .iter()
            .find(|size| size.0 == version)
            .or(self.sizes.last());
        known.map_or(Need::from(Limits::DEFAULT), |size| size.1)
    }
}

/// One index of a process.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) instances: Vec<u32>,
    /// Group in which this index waits for a cell.
    pub(crate) waits_in: Option<u32>,
    pub(crate) crash: Option<Box<Crash>>,
    /// No start before this time.
    pub(crate) not_before: Option<Time>,
    /// When the last instance left, or the slot appeared.
    pub(crate) since: Time,
    /// Orders in a row that came to nothing without a word of the instance.
    pub(crate) refusals: u32,
    /// The last instance here was lost with its cell.
    pub(crate) bereft: bool,
    /// An instance of a version desired then has lived here while this scheduler watched.
    pub(crate) touched: bool,
}

#[derive(Debug)]
pub(crate) struct Crash {
    pub(crate) count: u32,
    pub(crate) last: InstanceId,
    pub(crate) exit: Exit,
    /// When it ended.
    pub(crate) at: Time,
    /// See [`crate::restart::GIVE_UP_AT`].
    pub(crate) given_up: bool,
}

impl Slot {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            instances: Vec::new(),
            waits_in: None,
            crash: None,
            not_before: None,
            since: now,
            refusals: 0,
            bereft: false,
            touched: false,
        }
    }

    pub(crate) fn may_start(&self) -> bool {
        self.not_before.is_none() && !self.crash.as_ref().is_some_and(|crash| crash.given_up)
    }
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) process: u32,
    pub(crate) index: u32,
    pub(crate) version: VersionId,
    pub(crate) cell: u32,
    /// Its place in the cell's list.
    pub(crate) at: usize,
    pub(crate) need: Need,
    pub(crate) phase: Phase,
    /// When the phase began.
    pub(crate) since: Time,
    pub(crate) stop: Option<Stop>,
    /// Whether it is in the process's [`Spread`].
    pub(crate) counted: bool,
}

/// In the order in which a life runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Planned; the cell has said nothing yet.
    Ordered,
    Starting,
    Running(SocketAddr),
    Stopping,
}

impl Phase {
    /// Its step in life.
    pub(crate) const fn step(&self) -> u8 {
        match self {
            Self::Ordered => 0,
            Self::Starting => 1,
            Self::Running(_) => 2,
            Self::Stopping => 3,
        }
    }

    pub(crate) const fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop {
    pub(crate) reason: StopReason,
    /// Whether the decision was handed out, and the cell has not contradicted it since.
    pub(crate) ordered: bool,
}

impl Instance {
    /// Not on its way out.
    pub(crate) fn stays(&self) -> bool {
        self.stop.is_none() && self.phase != Phase::Stopping
    }

    /// The least is the one to keep of two.
    pub(crate) fn seniority(&self) -> (std::cmp::Reverse<u8>, Time, InstanceId) {
        (std::cmp::Reverse(self.phase.step()), self.since, self.id)
    }
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    /// None where only its cell is known so far.
    pub(crate) wish: Option<DesiredTask>,
    pub(crate) place: TaskPlace,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum TaskPlace {
    Waits {
        group: u32,
    },
    On {
        cell: u32,
        name: CellId,
        booked: Option<Need>,
    },
}
