//! Why an app does not run: cause, evidence, what to do.

use std::time::Duration;

use api_types::{App, InstanceState, InstanceStats};
use model::limits::Megabytes;

use super::{Observed, SLACK, Verdict, unbound};
use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::logs::{LogReader, source, text};

const EVIDENCE_LINES: usize = 20;

pub(super) async fn explain(
    cx: &Context,
    app: &App,
    observed: &[Observed],
    verdict: &Verdict,
    limit: Duration,
) -> CliError {
    let name = &app.name;
    let said = |instance: &&InstanceStats| {
        !instance
            .details
            .as_deref()
            .unwrap_or_default()
            .trim()
            .is_empty()
    };
    let instance = observed
        .iter()
        .flat_map(|(_, instances)| instances)
        .find(said);
    let details = instance.and_then(|instance| instance.details.as_deref());
    let (code, exit) = match verdict {
        Verdict::NoRoom => ("E-CAPACITY", Exit::Quota),
        Verdict::TimedOut => ("E-PORT", Exit::Start),
        _ => (code_of(details.unwrap_or_default()), Exit::Start),
    };
    let silent = match verdict {
        Verdict::TimedOut => format!(
            "{name} was not healthy within {} s",
            (limit - SLACK).as_secs()
        ),
        Verdict::NoRoom => format!("no cell has room for {name}"),
        _ => format!("{name} ended right after its start"),
    };
    let mut error = CliError::from_text(details.unwrap_or(&silent), code, exit);
    if *verdict == Verdict::NoRoom {
        let all = observed.iter().flat_map(|(_, instances)| instances);
        let running = all
            .clone()
            .filter(|instance| instance.state == InstanceState::Running)
            .count();
        error.message = format!(
            "{running} of {} instances run; for the others there is no room: {}",
            all.count(),
            error.message
        );
    }
    if let (Some(instance), true) = (instance, *verdict != Verdict::NoRoom) {
        let which = format!("{}/{}", instance.kind, instance.index);
        if !error.message.starts_with(&which) {
            error.message = format!("{which} {}", error.message);
        }
    }
    if error.evidence.is_empty() && *verdict != Verdict::NoRoom {
        error = error.lines(last_output(cx, &app.guid).await);
    }
    if error.code == "E-CRASH" {
        error = unbound::with_note(cx, &app.guid, name, error).await;
    }
    if error.hints.is_empty() {
        let memory = instance.and_then(|instance| instance.mem_quota);
        with_hints(error, name, memory)
    } else {
        error
    }
}

/// Which of the ways to fail a text of the platform is about. Only its first line tells: the others are the app's.
pub(crate) fn code_of(details: &str) -> &'static str {
    let lower = details
        .lines()
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["out of memory", "memory limit", "oom"]) {
        "E-OOM"
    } else if says(&["$port", "listen", "healthy", "health check", "healthcheck"]) {
        "E-PORT"
    } else {
        "E-CRASH"
    }
}

fn with_hints(error: CliError, name: &str, memory: Option<u64>) -> CliError {
    match error.code.as_str() {
        "E-OOM" => error
            .hint(format!("slipway push {name} -m {}", more_than(memory)))
            .hint(format!("slipway app {name}")),
        "E-PORT" => error
            .hint("listen on 0.0.0.0:$PORT")
            .hint("-u process  for a worker")
            .hint("-t 120  for a slow start"),
        "E-CAPACITY" if error.message.contains("disk") => error
            .hint(format!("slipway scale {name} -k 256M"))
            .hint("slipway gc --dry-run")
            .hint("slipway stop APP  of an app that is not needed"),
        "E-CAPACITY" => error
            .hint(format!("slipway scale {name} -m 256M"))
            .hint("slipway stop APP  of an app that is not needed"),
        _ => error
            .hint(format!("slipway logs {name} --recent"))
            .hint(format!("slipway env {name}")),
    }
}

/// Half as much again as the limit in bytes that was not enough, in steps of 64M.
fn more_than(limit: Option<u64>) -> Megabytes {
    const STEP: u64 = 64 << 20;
    let wanted = limit.map_or(1 << 30, |limit| (limit + limit / 2).next_multiple_of(STEP));
    Megabytes(u32::try_from(wanted >> 20).unwrap_or(u32::MAX))
}

/// The app's own last lines. What cannot be read is not worth a second error.
async fn last_output(cx: &Context, app: &str) -> Vec<String> {
    let Ok(reader) = LogReader::of_app(cx, app) else {
        return vec![];
    };
    let lines = reader.recent(100).await.unwrap_or_default();
    let own: Vec<_> = lines
        .iter()
        .filter(|line| source(line).starts_with("APP/"))
        .map(text)
        .collect();
    own[own.len().saturating_sub(EVIDENCE_LINES)..].to_vec()
}
