//! The life of one instance: one copy of a process, from placement to its end.
//!
//! A cell owns this state and reports it; the scheduler follows the reports. A restarted instance is a new one with a
//! new id, so no state is ever left backwards.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{AppId, InstanceId, ProcessId, VersionId};

/// Where an instance is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum InstanceState {
    /// Accepted by a cell: layers are fetched, the container starts, the first health check has not passed.
    Starting,
    /// Healthy; requests may be sent to `address`.
    Running { address: SocketAddr },
    /// Asked to end; it still may finish requests.
    Stopping,
    /// Gone. The last state.
    Exited { exit: Exit },
}

/// What happens to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceEvent {
    BecameHealthy { address: SocketAddr },
    StopRequested,
    Exited(Exit),
}

/// A transition that the life of an instance does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an instance that is {from} cannot take '{event}'")]
pub struct RefusedTransition {
    pub from: &'static str,
    pub event: &'static str,
}

impl InstanceState {
    /// The state after `event`, or why there is none.
    pub fn after(&self, event: InstanceEvent) -> Result<Self, RefusedTransition> {
        use InstanceEvent as E;
        match (self, event) {
            (Self::Starting, E::BecameHealthy { address }) => Ok(Self::Running { address }),
            (Self::Starting | Self::Running { .. } | Self::Stopping, E::StopRequested) => {
                Ok(Self::Stopping)
            }
            (Self::Starting | Self::Running { .. } | Self::Stopping, E::Exited(exit)) => {
                Ok(Self::Exited { exit })
            }
            (_, event) => Err(RefusedTransition {
                from: self.name(),
                event: event.name(),
            }),
        }
    }

    /// Which step of a life this is; lives only go forward.
    #[must_use]
    pub const fn step(&self) -> u8 {
        match self {
            Self::Starting => 0,
            Self::Running { .. } => 1,
            Self::Stopping => 2,
            Self::Exited { .. } => 3,
        }
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running { .. } => "running",
            Self::Stopping => "stopping",
            Self::Exited { .. } => "exited",
        }
    }

    #[must_use]
    pub const fn is_exited(&self) -> bool {
        matches!(self, Self::Exited { .. })
    }
}

impl InstanceEvent {
    const fn name(&self) -> &'static str {
        match self {
            Self::BecameHealthy { .. } => "became healthy",
            Self::StopRequested => "stop requested",
            Self::Exited(_) => "exited",
        }
    }
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub reason: ExitReason,
    /// The process's exit status; 128 + signal where a signal ended it. Absent where it never ran.
    pub status: Option<i32>,
    /// Milliseconds from the start of the process to its end.
    pub ran_ms: u64,
    /// The last output of the process, oldest first, at most [`Exit::MAX_LINES`] lines; the evidence shown to users.
    pub last_lines: Vec<String>,
}

impl Exit {
    pub const MAX_LINES: usize = 20;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ExitReason {
    /// The platform asked for it.
    Stopped,
    /// The process ended by itself; for an app every exit is a crash, also status 0.
    Exited,
    /// The kernel killed it at its memory limit.
    OutOfMemory { limit_bytes: u64, peak_bytes: u64 },
    /// It wrote more than its disk limit.
    OutOfDisk { limit_bytes: u64, used_bytes: u64 },
    /// No health check passed within the start timeout.
    NeverHealthy {
        timeout_s: u64,
        check: String,
        listening: Vec<Listener>,
    },
    /// It was healthy and a later check failed.
    BecameUnhealthy { check: String },
    /// The container could not be made.
    NotStarted { message: String },
    /// Its cell lost it, for example in a reboot.
    Lost { message: String },
}

/// A socket on which a process inside an instance listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub address: SocketAddr,
    /// Process id as seen inside the container, where known.
    pub pid: Option<u32>,
    /// The process's command name.
    pub command: Option<String>,
}

/// What a cell says of one of its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    pub instance: InstanceId,
    pub app: AppId,
    pub process: ProcessId,
    pub version: VersionId,
    pub index: u32,
    #[serde(flatten)]
    pub state: InstanceState,
    /// Microseconds since the Unix epoch at which the state was entered.
    pub since_us: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit() -> Exit {
        Exit {
            reason: ExitReason::Exited,
            status: Some(1),
            ran_ms: 5,
            last_lines: vec![],
        }
    }

    /// The whole table: every state with every event.
    #[test]
    fn transitions_follow_the_table() {
        let address: SocketAddr = "10.0.0.1:8080".parse().expect("address");
        let states = [
            InstanceState::Starting,
            InstanceState::Running { address },
            InstanceState::Stopping,
            InstanceState::Exited { exit: exit() },
        ];
        let events = [
            InstanceEvent::BecameHealthy { address },
            InstanceEvent::StopRequested,
            InstanceEvent::Exited(exit()),
        ];
        let table = states.iter().map(|state| {
            events
                .iter()
                .map(|event| state.after(event.clone()).map_or("-", |next| next.name()))
                .collect::<Vec<_>>()
        });
        assert_eq!(
            table.collect::<Vec<_>>(),
            [
                ["running", "stopping", "exited"],
                ["-", "stopping", "exited"],
                ["-", "stopping", "exited"],
                ["-", "-", "-"],
            ]
        );
    }
}
