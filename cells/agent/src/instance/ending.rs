//! How an instance's end is told: from what the cell decided and what the container did to one [`Exit`].

use std::time::Duration;

use cells_engine::ContainerExit;
use model::instance::{Exit, ExitReason, InstanceState};
use model::limits::Limits;

use crate::ledger::InstanceRecord;

/// Lines of evidence are cut there, as JSON, so that a full report of a cell stays below a frame.
pub(super) const MAX_LINE_BYTES: usize = 1000;

/// Why supervision of a container ends.
pub(super) enum Ending {
    /// By itself; with the reason where nothing is known of it.
    Ended(Result<ContainerExit, String>),
    /// A stop was ordered.
    Stopped,
    /// The cell ends it.
    Verdict(ExitReason),
    /// An earlier agent was ending it.
    Decided,
    /// The container goes on without this agent.
    AgentStops,
}

/// The end of an instance that had no container.
pub(crate) fn before_start(reason: ExitReason) -> Exit {
    Exit {
        reason,
        status: None,
        ran_ms: 0,
        last_lines: Vec::new(),
    }
}

/// Why an instance's end was decided; none where it ends by itself.
pub(super) fn decided(record: &InstanceRecord) -> Option<ExitReason> {
    match (&record.verdict, &record.state) {
        (Some(verdict), _) => Some(verdict.clone()),
        (None, InstanceState::Stopping) => Some(ExitReason::Stopped),
        (None, _) => None,
    }
}

/// The end of a container that has ended as `ended` says, and where somebody `decided` that, for this reason.
pub(crate) fn exit(
    decided: Option<ExitReason>,
    limits: Limits,
    ended: Result<ContainerExit, String>,
    last_lines: Vec<String>,
) -> Exit {
    match ended {
        Ok(ended) => Exit {
            reason: decided.unwrap_or_else(|| by_itself(limits, &ended)),
            status: Some(ended.status),
            ran_ms: u64::try_from(ended.ran.as_millis()).unwrap_or(u64::MAX),
            last_lines,
        },
        Err(message) => Exit {
            reason: decided.unwrap_or(ExitReason::Lost { message }),
            status: None,
            ran_ms: 0,
            last_lines,
        },
    }
}

fn by_itself(limits: Limits, ended: &ContainerExit) -> ExitReason {
    if ended.oom_killed {
        ExitReason::OutOfMemory {
            limit_bytes: limits.memory.bytes(),
            peak_bytes: ended.peak_memory_bytes,
        }
    } else if ended.disk_full && ended.status != 0 {
        // It has heard so from the kernel and, most likely, said so in its last lines.
        let limit_bytes = limits.disk.bytes();
        ExitReason::OutOfDisk {
            limit_bytes,
            used_bytes: ended.disk_bytes.min(limit_bytes),
        }
    } else {
        ExitReason::Exited
    }
}

/// Cloud Foundry's line about an exit.
pub(crate) fn exit_line(exit: &Exit, exceeded_grace: Option<Duration>) -> String {
    let status = exit.status.map_or_else(
        || "Exit status unknown".to_owned(),
        |status| format!("Exit status {status}"),
    );
    let graceless = exceeded_grace.map(|grace| {
        format!(
            " (exceeded {}s graceful shutdown interval)",
            grace.as_secs()
        )
    });
    let tail = match &exit.reason {
        ExitReason::OutOfMemory { .. } => " (out of memory)".to_owned(),
        ExitReason::OutOfDisk { .. } => " (out of disk)".to_owned(),
        ExitReason::NotStarted { message } => {
            return format!("Could not create container: {message}");
        }
        ExitReason::Lost { message } => format!(" ({message})"),
        _ => String::new(),
    };
    format!("{status}{tail}{}", graceless.unwrap_or_default())
}

/// What the cell says when an instance has filled its disk and goes on.
pub(super) fn full_disk_sentence(limit_bytes: u64) -> String {
    format!(
        "Instance has filled its disk of {} MiB; what it writes fails with 'No space left on device'",
        limit_bytes / (1024 * 1024)
    )
}

/// What the cell says when it decides to end an instance.
pub(crate) fn sentence(verdict: &ExitReason) -> String {
    match verdict {
        ExitReason::NeverHealthy {
            timeout_s,
            check,
            listening,
        } => {
            let listening: Vec<_> = listening
                .iter()
                .map(|listener| listener.address.to_string())
                .collect();
            let listening = if listening.is_empty() {
                "nothing".to_owned()
            } else {
                listening.join(", ")
            };
            format!("Instance never healthy after {timeout_s}s: {check}; it listens on {listening}")
        }
        ExitReason::BecameUnhealthy { check } => format!("Instance became unhealthy: {check}"),
        ExitReason::OutOfDisk {
            limit_bytes,
            used_bytes,
        } => {
            format!("Instance exceeded its disk limit: {used_bytes} of {limit_bytes} bytes")
        }
        _ => "Instance is ended by its cell".to_owned(),
    }
}
