//! Tasks: work that runs to its end once: builds, and commands that a person runs beside an app.

use serde::{Deserialize, Serialize};

use crate::droplet::Image;
use crate::ids::TaskId;
use crate::instance::Exit;

/// Where a task is on its cell. Tasks run at most once: what was started is never started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TaskState {
    /// Accepted and recorded on the cell's disk; the command has not begun.
    Accepted,
    /// Recorded as begun, before its first instruction ran.
    Started,
    /// Ended; the cell keeps the result until the server has stored it.
    Done { outcome: TaskOutcome },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TaskOutcome {
    /// A build that produced a droplet whose layers are stored.
    Staged {
        image: Image,
    },
    Failed {
        failure: StagingFailure,
    },
    /// A one-off task's command has ended, or was never able to begin. Its lines are in the app's logs, not in the exit.
    Ran {
        exit: Exit,
    },
    Cancelled,
}

/// Why a build gave no droplet. A result, not an error: the person who pushed reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StagingFailure {
    /// No buildpack recognised the source.
    NothingDetected {
        looked_for: Vec<String>,
        found: Vec<String>,
        hint: Option<String>,
    },
    /// A buildpack's command ended with a failure. Lines are the end of its output, at most 20.
    BuildFailed {
        buildpack: String,
        command: String,
        status: i32,
        ran_ms: u64,
        last_lines: Vec<String>,
    },
    /// A buildpack found the source unusable and says why.
    Refused {
        buildpack: String,
        message: String,
        hint: Option<String>,
    },
    OutOfMemory {
        limit_bytes: u64,
    },
    OutOfDisk {
        limit_bytes: u64,
    },
    TimedOut {
        seconds: u64,
        last_lines: Vec<String>,
    },
    /// The cell went away while the build ran.
    CellLost,
    /// No cell can take the build now.
    NoCapacity {
        message: String,
    },
    /// The server or the cell has no room for what was built; the text says how much there is.
    DiskFull {
        message: String,
    },
    /// A fault of the platform; details are in the server's log.
    Internal {
        message: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    pub task: TaskId,
    #[serde(flatten)]
    pub state: TaskState,
}
