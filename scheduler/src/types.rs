//! What goes in and what comes out.

use std::time::Duration;

use model::droplet::Stack;
use model::ids::{CellId, InstanceId, ProcessId, TaskId, VersionId};
use model::instance::{Exit, InstanceState};
use model::limits::Limits;
use model::protocol::cell::CellCapacity;

/// Microseconds since the Unix epoch. The scheduler never reads a clock; its driver passes the time in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub i64);

impl Time {
    /// The time `wait` later; the end of time where that is not representable.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

/// Something that happened or was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A cell joined, returned, or changed what it offers. Its instances follow as [`Event::Instance`].
    CellUp {
        cell: CellId,
        zone: String,
        stack: Stack,
        capacity: CellCapacity,
    },
    /// A cell was not heard of for its TTL, or was removed. Its instances are gone, its tasks too.
    /// `silent` others were not heard of for [`SILENT`](crate::SILENT), and so may have been lost with it.
    CellDown { cell: CellId, silent: usize },
    /// What should run of a process. Replaces what was desired before.
    Desire(DesiredProcess),
    /// The process, with all its instances, should not run any more.
    Undesire { process: ProcessId },
    /// A cell said where an instance is in its life. Also used to rebuild from full reports.
    /// Unknown instances (of no desired process, or an index too many) are planned to stop. Of two running ones of an
    /// index the one that has been known to run for longer stays. So the time of this event is when it was heard; only
    /// when rebuilding after a change of leader is it the time in the report (`InstanceReport::since_us`). Words of a
    /// cell that is not up are not believed.
    Instance {
        cell: CellId,
        process: ProcessId,
        version: VersionId,
        index: u32,
        instance: InstanceId,
        state: InstanceState,
    },
    /// A cell does not have this instance (full report without it, or refused order): its booking is freed.
    InstanceGone { cell: CellId, instance: InstanceId },
    /// A task should run once.
    Task(DesiredTask),
    /// The task ended, was cancelled, or failed; it needs nothing any more.
    TaskEnded { task: TaskId },
    /// The task is known to be on this cell already (after a change of leader).
    TaskPlaced { task: TaskId, cell: CellId },
    /// Somebody asked for this instance to be started anew (restart-app-instance).
    RestartInstance { process: ProcessId, index: u32 },
    /// A new leader begins: all that was desired until now is older than it, and these cells may hold instances of it. Until
    /// each of them has come up or gone down, nothing stops, and nothing of what is desired by now starts. Belongs after
    /// the [`Event::Desire`]s that the leader found.
    Inherit { cells: Vec<CellId> },
    /// What an earlier leader counted for an index: `instance` was the last of `crash_count` crashes, at `at`. Belongs
    /// after the [`Event::Desire`] and before the reports of the cells; ignored where the version is not the desired one.
    CrashHistory {
        process: ProcessId,
        version: VersionId,
        index: u32,
        instance: InstanceId,
        crash_count: u32,
        at: Time,
        exit: Exit,
    },
}

/// A desired LRP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredProcess {
    pub process: ProcessId,
    /// When it differs from that of a running instance, the instance is replaced.
    pub version: VersionId,
    pub instances: u32,
    pub limits: Limits,
    pub stack: Stack,
    pub update: UpdateStrategy,
    /// Set while a part of the indices is to stay with an older version, as during a canary deployment.
    pub older: Option<Older>,
}

/// An older version that is desired beside the newer one. Its instances are kept, and started again when they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Older {
    pub version: VersionId,
    pub limits: Limits,
    pub stack: Stack,
    /// The indices below this one.
    pub below: u32,
}

/// How instances of an older version make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateStrategy {
    /// Old ones stop at once, new ones start at once.
    Recreate,
    /// A new one starts beside the old one of the same index, and the old one stops when the new one is healthy; at
    /// most `max_in_flight` indices at a time.
    Rolling { max_in_flight: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredTask {
    pub task: TaskId,
    pub limits: Limits,
    pub stack: Option<Stack>,
}

/// Decisions, in the order in which they should be carried out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    pub decisions: Vec<Decision>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Start this instance there. `instance` was made by [`IdSource`] and is booked as pending.
    /// [`IdSource`]: crate::IdSource
    Start {
        instance: InstanceId,
        process: ProcessId,
        version: VersionId,
        index: u32,
        cell: CellId,
    },
    Stop {
        instance: InstanceId,
        cell: CellId,
        reason: StopReason,
    },
    StartTask {
        task: TaskId,
        cell: CellId,
    },
    /// There is no room now; the work waits and is planned again as soon as room appears. Said once per change of the reason.
    Blocked {
        process: ProcessId,
        index: u32,
        why: PlacementError,
    },
    TaskBlocked {
        task: TaskId,
        why: PlacementError,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Scaled down, or the process is not desired any more.
    NotDesired,
    /// A newer version took its place.
    Replaced,
    /// Two instances of one index; the older running one stays.
    Duplicate,
    /// Asked for by a user.
    Restarted,
}

/// Why no cell can take a piece of work. Texts are Diego's where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    #[error("no cell is connected")]
    NoCells,
    /// It may well be running on one of them.
    #[error("the server has just started and waits to hear from {cells} more cell{}", if *cells == 1 { "" } else { "s" })]
    Unsettled { cells: usize },
    /// It was lost with its cell, and the brake is on.
    #[error(
        "{lost} of {cells} cells were lost at once: what ran there is started elsewhere only if they do not come back"
    )]
    Braked { lost: usize, cells: usize },
    #[error("found no compatible cell for required stack '{0}'")]
    NoStack(Stack),
    /// What is short on every compatible cell (nothing, where cells lack different things), with the largest free
    /// memory, for the hint to the user.
    #[error("insufficient resources{}{}", if short.is_empty() { "" } else { ": " }, short.join(", "))]
    Insufficient {
        short: Vec<&'static str>,
        largest_free_memory_mb: u32,
        needed_memory_mb: u32,
    },
}

impl PlacementError {
    /// Equal but for amounts, which change with every placement.
    pub(crate) fn is_same_cause(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Insufficient { short, .. }, Self::Insufficient { short: other, .. }) => {
                short == other
            }
            (Self::Unsettled { .. }, Self::Unsettled { .. })
            | (Self::Braked { .. }, Self::Braked { .. }) => true,
            _ => self == other,
        }
    }
}

/// The state of one index of a process, for stats.
///
/// While an old and a new version of an index coexist, the row shows the one that serves: a running one before one that
/// starts, and that before one that stops; between equals the desired version, then the older instance.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexView {
    pub index: u32,
    pub instance: Option<InstanceId>,
    pub cell: Option<CellId>,
    pub version: Option<VersionId>,
    pub status: IndexStatus,
    pub since: Time,
    pub crash_count: u32,
    /// The instance whose crash was the last to be counted.
    pub last_crash: Option<InstanceId>,
    /// Why this index, or its new version during an update, waits for a cell.
    pub blocked: Option<PlacementError>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum IndexStatus {
    /// Waits for a cell.
    Unplaced,
    /// Ordered or starting on a cell.
    Starting,
    Running {
        address: std::net::SocketAddr,
    },
    /// Crashed; starts again at the given time, or never after 200 crashes.
    Crashed {
        restart_at: Option<Time>,
        exit: Exit,
    },
    /// On its way out: scaled down or being replaced.
    Stopping,
}

/// A cell that is up, and what is booked on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellView {
    pub cell: CellId,
    pub zone: String,
    pub stack: Stack,
    pub capacity: CellCapacity,
    /// Can exceed the capacity where a cell has shrunk.
    pub used: CellCapacity,
}

/// Replacements wait, since too many cells were lost at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrakeView {
    pub since: Time,
    /// When it is released at the latest.
    pub until: Time,
    /// Cells that have not come back, of how many.
    pub lost: usize,
    pub cells: usize,
}

/// A task that waits or runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    pub task: TaskId,
    /// None while it waits for a cell.
    pub cell: Option<CellId>,
    pub blocked: Option<PlacementError>,
}
