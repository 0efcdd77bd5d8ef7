//! Waiting until an app runs, and finding out why it does not.

mod explain;
mod unbound;

use std::fmt::Write;
use std::time::{Duration, Instant};

use api_types::{InstanceState, InstanceStats, Process, ProcessStats};
use owo_colors::OwoColorize;
use serde_json::json;

use crate::context::Context;
use crate::error::Outcome;
use crate::ui::seconds;
pub(crate) use explain::code_of;
use explain::explain;

const PAUSE: Duration = Duration::from_millis(100);
/// Cloud Foundry's start timeout where a process sets none, seconds.
const START_TIMEOUT: u32 = 60;
/// On top of the start timeout: placement, fetching layers, and the report on its way.
const SLACK: Duration = Duration::from_secs(20);
/// How long instances may stay unplaced before that counts as an answer.
const PLACEMENT: Duration = Duration::from_secs(10);

/// One process with its instances as they are now.
type Observed = (Process, Vec<InstanceStats>);

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Started,
    /// Some run; the rest did not in time.
    Partly,
    Crashed,
    NoRoom,
    TimedOut,
}

/// Waits until every instance runs. `name` is the app's, for hints.
pub(crate) async fn wait_until_started(cx: &Context, app: &str, name: &str) -> Outcome {
    let started = Instant::now();
    let processes: Vec<Process> = cx
        .processes(app)
        .await?
        .into_iter()
        .filter(|process| process.instances > 0)
        .collect();
    if let Some(web) = processes.iter().find(|process| process.kind == "web") {
        let memory = model::limits::Megabytes(web.memory_in_mb);
        cx.ui.step(
            "memory",
            format!("{memory} x{}  {}", web.instances, "(-m, -i)".dimmed()),
        );
    }
    let timeout = processes
        .iter()
        .map(|process| process.health_check.data.timeout.unwrap_or(START_TIMEOUT))
        .max();
    let limit = Duration::from_secs(u64::from(timeout.unwrap_or(START_TIMEOUT))) + SLACK;
    let mut shown = String::new();
    loop {
        let mut observed = Vec::new();
        for process in &processes {
            let stats: ProcessStats = cx
                .client
                .get(&format!("/v3/processes/{}/stats", process.guid))
                .await?;
            observed.push((process.clone(), stats.resources));
        }
        let progress = progress(&observed);
        if progress != shown {
            cx.ui.event(
                "start.progress",
                json!({"app": name, "instances": progress_json(&observed)}),
            )?;
            cx.ui.step(
                "start",
                format!("{progress}  {}", seconds(started.elapsed()).dimmed()),
            );
            shown = progress;
        }
        match judge(&observed, started.elapsed(), limit) {
            Verdict::Wait => tokio::time::sleep(PAUSE).await,
            Verdict::Started => return Ok(()),
            Verdict::Partly => {
                cx.ui.warn(format!(
                    "not every instance of {name} runs yet; slipway app {name}"
                ));
                return Ok(());
            }
            verdict => return Err(explain(cx, app, name, &observed, &verdict, limit).await),
        }
    }
}

fn judge(observed: &[Observed], elapsed: Duration, limit: Duration) -> Verdict {
    let of_process = |(process, instances): &Observed| {
        let count = |state| {
            instances
                .iter()
                .filter(|instance| instance.state == state)
                .count()
        };
        let running = count(InstanceState::Running);
        let missing = instances.len() - running;
        let waiting = instances
            .iter()
            .filter(|instance| without_room(instance))
            .count();
        // An empty list counts as started for `cf`; here it means that nothing is known yet.
        if running >= process.instances as usize {
            Verdict::Started
        } else if !instances.is_empty() && instances.iter().all(has_failed) {
            Verdict::Crashed
        } else if elapsed > PLACEMENT && missing > 0 && missing == waiting {
            Verdict::NoRoom
        } else if elapsed > limit {
            if running > 0 {
                Verdict::Partly
            } else {
                Verdict::TimedOut
            }
        } else {
            Verdict::Wait
        }
    };
    let verdicts: Vec<_> = observed.iter().map(of_process).collect();
    for failed in [
        Verdict::Crashed,
        Verdict::NoRoom,
        Verdict::TimedOut,
        Verdict::Wait,
        Verdict::Partly,
    ] {
        if verdicts.contains(&failed) {
            return failed;
        }
    }
    Verdict::Started
}

/// Crashed, or trying again after it was not healthy in time: a second minute of waiting would show nothing new.
fn has_failed(instance: &InstanceStats) -> bool {
    let again = || {
        matches!(
            instance.state,
            InstanceState::Starting | InstanceState::Down
        )
    };
    instance.state == InstanceState::Crashed
        || (again() && code_of(instance.details.as_deref().unwrap_or_default()) == "E-PORT")
}

fn without_room(instance: &InstanceStats) -> bool {
    let details = instance
        .details
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    // An instance that has no place yet is starting where an earlier release runs on.
    matches!(
        instance.state,
        InstanceState::Starting | InstanceState::Down
    ) && ["insufficient", "no cell", "capacity"]
        .iter()
        .any(|word| details.contains(word))
}

/// `2/3 running, 1 starting`, with the process type where there is more than `web`.
fn progress(observed: &[Observed]) -> String {
    let mut text = String::new();
    for (process, instances) in observed {
        if !text.is_empty() {
            text.push_str("; ");
        }
        if observed.len() > 1 {
            write!(text, "{} ", process.kind).expect("texts take everything");
        }
        let count = |state| {
            instances
                .iter()
                .filter(|instance| instance.state == state)
                .count()
        };
        write!(
            text,
            "{}/{} running",
            count(InstanceState::Running),
            process.instances
        )
        .expect("texts take everything");
        for (state, word) in [
            (InstanceState::Starting, "starting"),
            (InstanceState::Crashed, "crashed"),
            (InstanceState::Down, "waiting for a cell"),
        ] {
            if count(state) > 0 {
                write!(text, ", {} {word}", count(state)).expect("texts take everything");
            }
        }
    }
    if text.is_empty() {
        "no instances asked for".to_owned()
    } else {
        text
    }
}

fn progress_json(observed: &[Observed]) -> serde_json::Value {
    let instance = |instance: &InstanceStats| json!({"type": instance.kind, "index": instance.index, "state": instance.state});
    observed
        .iter()
        .flat_map(|(_, instances)| instances.iter().map(instance))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use InstanceState::{Crashed, Down, Running, Starting};

    fn process(kind: &str, wanted: u32, states: &[(InstanceState, &str)]) -> Observed {
        let process = Process {
            kind: kind.into(),
            instances: wanted,
            ..Process::default()
        };
        let instances = states
            .iter()
            .enumerate()
            .map(|(index, (state, details))| InstanceStats {
                kind: kind.into(),
                index: index as u32,
                state: *state,
                details: Some((*details).to_owned()),
                ..InstanceStats::default()
            });
        (process, instances.collect())
    }

    #[test]
    fn success_is_claimed_only_when_everything_runs() {
        let (early, late) = (Duration::from_secs(1), Duration::from_secs(100));
        let limit = Duration::from_secs(80);
        let full = "insufficient resources: memory";
        for (observed, elapsed, want) in [
            (vec![], early, Verdict::Started),
            (vec![process("web", 1, &[])], early, Verdict::Wait),
            (
                vec![process("web", 1, &[(Starting, "")])],
                early,
                Verdict::Wait,
            ),
            (
                vec![process("web", 2, &[(Running, ""), (Starting, "")])],
                early,
                Verdict::Wait,
            ),
            (
                vec![process("web", 2, &[(Running, ""), (Running, "")])],
                early,
                Verdict::Started,
            ),
            (
                vec![process("web", 2, &[(Running, ""), (Crashed, "")])],
                late,
                Verdict::Partly,
            ),
            (
                vec![process("web", 2, &[(Crashed, ""), (Starting, "")])],
                early,
                Verdict::Wait,
            ),
            (
                vec![process("web", 1, &[(Crashed, "boom")])],
                early,
                Verdict::Crashed,
            ),
            (
                vec![process(
                    "web",
                    1,
                    &[(Starting, "nothing answered on $PORT (8080) in 60 s")],
                )],
                early,
                Verdict::Crashed,
            ),
            (
                vec![process("web", 1, &[(Starting, "")])],
                late,
                Verdict::TimedOut,
            ),
            (
                vec![process("web", 1, &[(Down, full)])],
                early,
                Verdict::Wait,
            ),
            (
                vec![process("web", 1, &[(Down, full)])],
                Duration::from_secs(11),
                Verdict::NoRoom,
            ),
            (
                vec![
                    process("web", 1, &[(Running, "")]),
                    process("worker", 1, &[(Crashed, "")]),
                ],
                early,
                Verdict::Crashed,
            ),
        ] {
            assert_eq!(
                judge(&observed, elapsed, limit),
                want,
                "{}",
                progress(&observed)
            );
        }
    }

    #[test]
    fn progress_is_one_short_line() {
        let web = process("web", 3, &[(Running, ""), (Starting, ""), (Down, "")]);
        assert_eq!(
            progress(std::slice::from_ref(&web)),
            "1/3 running, 1 starting, 1 waiting for a cell"
        );
        let both = [web, process("worker", 1, &[(Crashed, "")])];
        assert_eq!(
            progress(&both),
            "web 1/3 running, 1 starting, 1 waiting for a cell; worker 0/1 running, 1 crashed"
        );
    }

    #[test]
    fn a_crash_has_the_code_of_its_cause() {
        for (details, want) in [
            ("Out of memory: limit 512M", "E-OOM"),
            ("nothing answered on $PORT (8080) in 60 s", "E-PORT"),
            ("failed to become healthy", "E-PORT"),
            ("web/0 exited with 1 after 0.8 s", "E-CRASH"),
            (
                "exited with 1 after 0.8 s\n  java.net.BindException: cannot listen",
                "E-CRASH",
            ),
        ] {
            assert_eq!(code_of(details), want, "{details}");
        }
    }
}
