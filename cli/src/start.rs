//! Waiting until an app runs, and finding out why it does not.

mod explain;
mod unbound;

use std::fmt::Write;
use std::time::{Duration, Instant};

use api_types::{App, InstanceState, InstanceStats, Process, ProcessStats};
use owo_colors::OwoColorize;
use serde_json::json;

use crate::context::Context;
use crate::deployment::{self, Reached};
use crate::error::{CliError, Outcome};
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
/// The same while a release takes the place of another: each new instance may wait for the end of an old one, which has
/// 10 s for it and keeps its requests a moment longer.
const PLACEMENT_IN_ROLL: Duration = Duration::from_secs(30);

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

/// Waits until every instance runs. A release that still takes the place of the one before is followed to its end first:
/// how long that may take is the server's to say.
pub(crate) async fn wait_until_started(cx: &Context, app: &App) -> Outcome {
    let mut watch = Watch::begin(cx, app).await?;
    if let Some(roll) = deployment::active_if_any(cx, app).await? {
        let reached = deployment::follow(&mut watch, &roll.guid).await?;
        if reached == Reached::Deployed {
            return Ok(());
        }
    }
    watch.until_started().await
}

/// An app's processes that should run, and what was last told of them.
pub(crate) struct Watch<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) app: &'a App,
    processes: Vec<Process>,
    begun: Instant,
    shown: String,
    /// Since when every look found no room.
    without_room: Option<Instant>,
}

impl<'a> Watch<'a> {
    pub(crate) async fn begin(cx: &'a Context, app: &'a App) -> Outcome<Self> {
        let processes: Vec<Process> = cx
            .processes(&app.guid)
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
        Ok(Self {
            cx,
            app,
            processes,
            begun: Instant::now(),
            shown: String::new(),
            without_room: None,
        })
    }

    /// The instances as they are now, told where that has changed.
    async fn look(&mut self) -> Outcome<Vec<Observed>> {
        let mut observed = Vec::new();
        for process in &self.processes {
            let path = format!("/v3/processes/{}/stats", process.guid);
            let stats: ProcessStats = self.cx.client.get_patiently(&path).await?;
            observed.push((process.clone(), stats.resources));
        }
        let progress = progress(&observed);
        if progress != self.shown {
            let ui = &self.cx.ui;
            ui.event(
                "start.progress",
                json!({"app": self.app.name, "instances": progress_json(&observed)}),
            )?;
            let took = seconds(self.begun.elapsed());
            ui.step("start", format!("{progress}  {}", took.dimmed()));
            self.shown = progress;
        }
        Ok(observed)
    }

    /// One look at a release that takes the place of the one before, and a pause. Only that there is no room is an answer
    /// before the deployment's end.
    pub(crate) async fn look_at_roll(&mut self) -> Outcome {
        let observed = self.look().await?;
        let verdict = judge(&observed, self.begun.elapsed(), Duration::MAX);
        if verdict != Verdict::NoRoom {
            self.without_room = None;
        } else if self.without_room.get_or_insert_with(Instant::now).elapsed() > PLACEMENT_IN_ROLL {
            let error = explain(self.cx, self.app, &observed, &verdict, Duration::MAX).await;
            return Err(error.hint(format!("slipway cancel-deployment {}", self.app.name)));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    /// What the server shows of a release that did not start, for a moment after its end.
    pub(crate) async fn failure(&mut self) -> Outcome<Option<CliError>> {
        let observed = self.look().await?;
        let verdict = judge(&observed, Duration::ZERO, Duration::MAX);
        if verdict != Verdict::Crashed {
            return Ok(None);
        }
        let error = explain(self.cx, self.app, &observed, &verdict, Duration::MAX).await;
        Ok(Some(error))
    }

    pub(crate) async fn until_started(&mut self) -> Outcome {
        let timeout = self
            .processes
            .iter()
            .map(|process| process.health_check.data.timeout.unwrap_or(START_TIMEOUT))
            .max();
        let limit = Duration::from_secs(u64::from(timeout.unwrap_or(START_TIMEOUT))) + SLACK;
        let started = Instant::now();
        loop {
            let observed = self.look().await?;
            match judge(&observed, started.elapsed(), limit) {
                Verdict::Wait => tokio::time::sleep(PAUSE).await,
                Verdict::Started => return Ok(()),
                Verdict::Partly => {
                    let name = &self.app.name;
                    self.cx.ui.warn(format!(
                        "not every instance of {name} runs yet; slipway app {name}"
                    ));
                    return Ok(());
                }
                verdict => {
                    return Err(explain(self.cx, self.app, &observed, &verdict, limit).await);
                }
            }
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
