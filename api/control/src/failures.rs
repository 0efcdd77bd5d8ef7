//! Failures in words: what happened, the evidence, what to do next. The same text reaches every client.

use std::fmt::Write as _;

use model::instance::{Exit, ExitReason, Listener};
use model::limits::Megabytes;
use model::task::{StagingFailure, TaskOutcome};

/// A build's failure: Cloud Foundry's name for it, and the text.
#[must_use]
pub fn failure_text(failure: &StagingFailure) -> (&'static str, String) {
    match failure {
        StagingFailure::NothingDetected {
            looked_for,
            found,
            hint,
        } => {
            let mut text = format!(
                "no buildpack recognised this app\n  looked for {}\n  found      {}",
                looked_for.join("; "),
                if found.is_empty() {
                    "nothing: the package is empty".to_owned()
                } else {
                    found.join(", ")
                }
            );
            if let Some(hint) = hint {
                let _ = write!(text, "\n  try        {hint}");
            }
            ("NoAppDetectedError", text)
        }
        StagingFailure::BuildFailed {
            buildpack,
            command,
            status,
            ran_ms,
            last_lines,
        } => {
            let mut text = format!(
                "{buildpack}: '{command}' ended with {status} after {}",
                seconds(*ran_ms)
            );
            push_lines(&mut text, last_lines);
            ("BuildpackCompileFailed", text)
        }
        StagingFailure::Refused {
            buildpack,
            message,
            hint,
        } => {
            let mut text = format!("{buildpack}: {message}");
            if let Some(hint) = hint {
                let _ = write!(text, "\n  try        {hint}");
            }
            ("BuildpackCompileFailed", text)
        }
        StagingFailure::OutOfMemory { limit_bytes } => (
            "StagingError",
            format!(
                "the build needs more than its {} of memory and was killed",
                Megabytes(mib(*limit_bytes))
            ),
        ),
        StagingFailure::OutOfDisk { limit_bytes } => (
            "StagingError",
            format!(
                "the build filled its disk of {}\n  try        leave out of the push what is no source, by .cfignore",
                Megabytes(mib(*limit_bytes))
            ),
        ),
        StagingFailure::TimedOut {
            seconds,
            last_lines,
        } => {
            let mut text = format!("the build did not end within {seconds} s");
            push_lines(&mut text, last_lines);
            ("StagingTimeExpired", text)
        }
        StagingFailure::CellLost => (
            "StagingError",
            "the cell that built the app went away; push again".into(),
        ),
        StagingFailure::NoCapacity { message } => (
            "InsufficientResources",
            format!(
                "no cell can take the build: {message}\n  try        slipway apps   (stop or scale down what is not needed)"
            ),
        ),
        // With its own code and hints.
        StagingFailure::DiskFull { message } => ("InsufficientResources", message.clone()),
        StagingFailure::Internal { message } => {
            ("StagingError", format!("the platform failed: {message}"))
        }
    }
}

/// How an instance ended, in one or more lines; the first is the reason.
#[must_use]
pub fn exit_text(exit: &Exit) -> String {
    let ran = seconds(exit.ran_ms);
    let mut text = match &exit.reason {
        ExitReason::Stopped => "stopped".to_owned(),
        ExitReason::Exited => format!(
            "exited with {} after {ran}",
            exit.status
                .map_or("no status".into(), |status| status.to_string())
        ),
        ExitReason::OutOfMemory {
            limit_bytes,
            peak_bytes,
        } => format!(
            "killed: memory {} reached (out of memory; peak {})",
            Megabytes(mib(*limit_bytes)),
            Megabytes(mib(*peak_bytes))
        ),
        ExitReason::OutOfDisk {
            limit_bytes,
            used_bytes,
        } => {
            format!(
                "its disk of {} is full (used {}): 'No space left on device'",
                Megabytes(mib(*limit_bytes)),
                Megabytes(mib(*used_bytes))
            )
        }
        ExitReason::NeverHealthy {
            timeout_s,
            check,
            listening,
        } => {
            format!(
                "was not healthy in {timeout_s} s: {check}{}",
                listening_text(listening)
            )
        }
        ExitReason::BecameUnhealthy { check } => format!("became unhealthy: {check}"),
        ExitReason::NotStarted { message } => format!("did not start: {message}"),
        ExitReason::Lost { message } => format!("was lost: {message}"),
    };
    push_lines(&mut text, &exit.last_lines);
    if let ExitReason::OutOfDisk { limit_bytes, .. } = exit.reason {
        let larger = Megabytes(mib(limit_bytes).saturating_mul(2));
        let _ = write!(text, "\n  try        slipway push -k {larger}");
    }
    if matches!(exit.reason, ExitReason::NeverHealthy { .. }) {
        // The flags are those of `slipway push` and `cf push`.
        text.push_str(
            "\n  try        listen on 0.0.0.0:$PORT  |  -u process  for a worker  |  -t 120  for a slow start",
        );
    }
    text
}

/// What a task is said to have failed for when it was cancelled; Diego's words.
pub(crate) const CANCELLED: &str = "task was cancelled";

/// Why a one-off task failed; none where it succeeded. Texts are Diego's where it has one: clients read the status from
/// `Exited with status N`.
pub(crate) fn task_failure(outcome: &TaskOutcome) -> Option<String> {
    let text = match outcome {
        TaskOutcome::Ran { exit } => return command_failure(exit),
        TaskOutcome::Cancelled => CANCELLED.into(),
        TaskOutcome::Failed {
            failure: StagingFailure::CellLost,
        } => "cell disappeared before completion; how far the command came is not known, and it is not run again".into(),
        TaskOutcome::Failed {
            failure: StagingFailure::NoCapacity { message },
        } => format!("InsufficientResources: no cell can take the task: {message}"),
        TaskOutcome::Failed { failure } => failure_text(failure).1,
        TaskOutcome::Staged { .. } => "the platform failed: the cell took the task for a build".into(),
    };
    Some(text)
}

fn command_failure(exit: &Exit) -> Option<String> {
    let status = exit
        .status
        .map_or("no status".to_owned(), |status| format!("status {status}"));
    let text = match &exit.reason {
        ExitReason::Exited if exit.status == Some(0) => return None,
        ExitReason::OutOfMemory { limit_bytes, .. } => format!(
            "Exited with {status} (out of memory: its limit is {})",
            Megabytes(mib(*limit_bytes))
        ),
        ExitReason::OutOfDisk { limit_bytes, .. } => format!(
            "Exited with {status} (out of disk: its limit is {})",
            Megabytes(mib(*limit_bytes))
        ),
        ExitReason::Stopped => CANCELLED.to_owned(),
        ExitReason::NotStarted { message } => format!("failed to create container: {message}"),
        ExitReason::Lost { message } => {
            format!("the task was lost: {message}; it is not run again")
        }
        ExitReason::Exited
        | ExitReason::NeverHealthy { .. }
        | ExitReason::BecameUnhealthy { .. } => format!("Exited with {status}"),
    };
    Some(text)
}

fn listening_text(listening: &[Listener]) -> String {
    if listening.is_empty() {
        return "\n  listening  on nothing".into();
    }
    let sockets = listening.iter().map(|listener| {
        let process = match (&listener.command, listener.pid) {
            (Some(command), Some(pid)) => format!("{command} pid {pid} on "),
            (Some(command), None) => format!("{command} on "),
            _ => String::new(),
        };
        let reach = if listener.address.ip().is_loopback() {
            " (not 0.0.0.0, so only inside the instance)"
        } else {
            ""
        };
        format!("{process}{}{reach}", listener.address)
    });
    format!("\n  listening  {}", sockets.collect::<Vec<_>>().join(", "))
}

/// Lines of an app or a tool. One that looks like the platform's hints is set in by one more, so that no client takes it for
/// them.
fn push_lines(text: &mut String, lines: &[String]) {
    for line in lines {
        let deeper = if line.starts_with("try ") { " " } else { "" };
        let _ = write!(text, "\n  {deeper}{line}");
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

fn mib(bytes: u64) -> u32 {
    u32::try_from(bytes / (1024 * 1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(reason: ExitReason) -> Exit {
        Exit {
            reason,
            status: Some(1),
            ran_ms: 840,
            last_lines: vec!["Exception in thread \"main\"".into()],
        }
    }

    #[test]
    fn exits_say_reason_and_evidence() {
        assert_eq!(
            exit_text(&exit(ExitReason::Exited)),
            "exited with 1 after 0.8 s\n  Exception in thread \"main\""
        );
        let advising = Exit {
            last_lines: vec!["try        rm -rf".into()],
            ..exit(ExitReason::Exited)
        };
        assert!(
            exit_text(&advising).ends_with("\n   try        rm -rf"),
            "the app's words are not the platform's"
        );
        let listening = vec![Listener {
            address: "127.0.0.1:3000".parse().expect("address"),
            pid: Some(17),
            command: Some("java".into()),
        }];
        let text = exit_text(&exit(ExitReason::NeverHealthy {
            timeout_s: 60,
            check: "port 8080".into(),
            listening,
        }));
        assert!(text.contains("java pid 17 on 127.0.0.1:3000"), "{text}");
        let oom = ExitReason::OutOfMemory {
            limit_bytes: 512 << 20,
            peak_bytes: 511 << 20,
        };
        assert!(
            exit_text(&exit(oom))
                .starts_with("killed: memory 512M reached (out of memory; peak 511M)")
        );
    }

    #[test]
    fn the_end_of_a_task_is_told_in_diegos_words() {
        let ran = |reason, status| TaskOutcome::Ran {
            exit: Exit {
                status,
                last_lines: vec![],
                ..exit(reason)
            },
        };
        let oom = ExitReason::OutOfMemory {
            limit_bytes: 64 << 20,
            peak_bytes: 63 << 20,
        };
        let gone = ExitReason::Lost {
            message: "the cell's host was restarted".into(),
        };
        let full = StagingFailure::NoCapacity {
            message: "insufficient resources: memory".into(),
        };
        for (outcome, want) in [
            (ran(ExitReason::Exited, Some(0)), None),
            (
                ran(ExitReason::Exited, Some(3)),
                Some("Exited with status 3"),
            ),
            (
                ran(oom, Some(137)),
                Some("Exited with status 137 (out of memory: its limit is 64M)"),
            ),
            (
                ran(gone, None),
                Some("the task was lost: the cell's host was restarted; it is not run again"),
            ),
            (
                ran(ExitReason::Stopped, Some(0)),
                Some("task was cancelled"),
            ),
            (TaskOutcome::Cancelled, Some("task was cancelled")),
            (
                TaskOutcome::Failed { failure: full },
                Some(
                    "InsufficientResources: no cell can take the task: insufficient resources: memory",
                ),
            ),
        ] {
            assert_eq!(task_failure(&outcome).as_deref(), want, "{outcome:?}");
        }
    }

    #[test]
    fn an_unrecognised_app_hears_what_was_looked_for_and_found() {
        let failure = StagingFailure::NothingDetected {
            looked_for: vec!["pom.xml".into(), "*.jar".into()],
            found: vec!["README.md".into()],
            hint: Some("slipway push -p service-a".into()),
        };
        let (title, text) = failure_text(&failure);
        assert_eq!(title, "NoAppDetectedError");
        assert!(
            text.contains("pom.xml; *.jar")
                && text.contains("README.md")
                && text.contains("-p service-a"),
            "{text}"
        );
    }
}
