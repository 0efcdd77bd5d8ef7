//! Choices: which cell runs what, what is started, stopped, moved or started again.
//!
//! A pure state machine. Events go in through [`Scheduler::apply`], decisions come out of [`Scheduler::plan`], and
//! [`Scheduler::next_wake`] says when time alone would change the answer. There is no I/O, no clock, no thread, no
//! randomness and no hash-map order in it: the same events give the same plans, byte for byte. `plan` books its own
//! placements as pending and never waits for their success.
//!
//! The rules are Diego's (crash back-off, spread over zones, index 0 first), but work is indexed by what it waits for,
//! so that a plan costs what has changed and not what exists.
//!
//! What is known of the world can be rebuilt: a fresh scheduler that hears of every cell, every wish, every crash count
//! and every instance plans what the old one would have planned, but for the ids of new instances and for reasons that
//! it says once more.
//!
//! After a change of leader, and when many cells vanish at once, it holds back what would be wrong if cells are well that
//! it does not hear: see [`Event::Inherit`] and [`BrakeView`]. It never resends an order by itself: a driver that lost one learns it from the cell's full
//! report and says [`Event::InstanceGone`], or repeats the instance's state and gets the stop again.
//!
//! Start reading at [`Event`] and [`Decision`]; then `converge` (what should change for one index), `cells` (which cell
//! takes it), `work` (what waits), `restart` (the crash rule), `caution` (what is held
//! back).

mod types;

mod caution;
mod converge;
mod crashes;
mod events;
mod life;
mod plan;
mod tasks;
mod views;

mod arena;
mod cells;
mod ids;
pub mod restart;
mod spread;
mod state;
mod work;

use std::collections::{BTreeSet, HashMap, HashSet};

use model::ids::{CellId, InstanceId, ProcessId, TaskId};

pub use caution::{DOUBT, FEWEST, LONGEST, RETURN, SHARE_PERCENT, SILENT};
pub use ids::IdSource;
pub use types::{
    BrakeView, CellView, Decision, DesiredProcess, DesiredTask, Event, IndexStatus, IndexView,
    Older, PlacementError, Plan, StopReason, TaskView, Time, UpdateStrategy,
};

/// The state machine. See the crate's story.
#[derive(Debug)]
pub struct Scheduler {
    /// The latest time it was told.
    now: Time,
    ids: IdSource,
    cells: cells::Cells,
    work: work::Work,
    // The hash maps are only asked for single keys, never walked.
    instance_keys: HashMap<InstanceId, u32>,
    instances: arena::Arena<state::Instance>,
    process_keys: HashMap<ProcessId, u32>,
    processes: arena::Arena<state::Process>,
    task_keys: HashMap<TaskId, u32>,
    tasks: arena::Arena<state::Task>,
    /// Ended instances, as far as their cells remember them.
    ended: HashSet<InstanceId>,
    /// Cells that may hold instances of an earlier leader and have not spoken yet.
    awaited: BTreeSet<CellId>,
    brake: caution::Brake,
    /// Processes with indices to look at.
    dirty: BTreeSet<(ProcessId, u32)>,
    /// Process and index whose [`state::Slot::not_before`] passes at that time.
    timers: BTreeSet<(Time, u32, u32)>,
}

impl Scheduler {
    /// A scheduler that knows nothing. See [`IdSource`] for the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            now: Time(i64::MIN),
            ids: IdSource::new(seed),
            cells: cells::Cells::default(),
            work: work::Work::default(),
            instance_keys: HashMap::new(),
            instances: arena::Arena::default(),
            process_keys: HashMap::new(),
            processes: arena::Arena::default(),
            task_keys: HashMap::new(),
            tasks: arena::Arena::default(),
            ended: HashSet::new(),
            awaited: BTreeSet::new(),
            brake: caution::Brake::default(),
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
        }
    }
}
