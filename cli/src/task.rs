//! Following a task to its end: what it prints, and what becomes of it.

use std::time::{Duration, Instant};

use api_types::{App, Envelope, LogKind, Task, TaskState};
use serde_json::json;

use crate::context::Context;
use crate::error::{CliError, Exit, Outcome};
use crate::logs::{LogReader, Tail, source, text, time};

/// What to tell somebody who looks for a task that is no longer there.
pub(crate) const KEPT: &str = "the newest 200 finished tasks of an app";

const PAUSE: Duration = Duration::from_millis(300);
/// How long lines are still fetched after the end.
const LAST_LINES: Duration = Duration::from_secs(30);

/// Follows one task of an app.
pub(crate) struct Follower<'a> {
    cx: &'a Context,
    app: &'a App,
    reader: LogReader<'a>,
    tail: Tail,
}

impl<'a> Follower<'a> {
    /// Begins before the task does, so that none of its lines is missed.
    pub(crate) async fn begin(cx: &'a Context, app: &'a App) -> Outcome<Self> {
        let reader = LogReader::of_app(cx, &app.guid)?;
        let tail = Tail::after_now(&reader).await?;
        Ok(Self {
            cx,
            app,
            reader,
            tail,
        })
    }

    /// Prints what the task prints until it ends, and then ends as the task did.
    pub(crate) async fn follow(mut self, task: &Task) -> Outcome {
        let id = task.sequence_id;
        self.cx.ui.event("task.start", json!({ "task": task }))?;
        self.cx.ui.say(format!(
            "following task {id} {} of {}; after Ctrl-C it goes on",
            task.name, self.app.name
        ));
        let path = format!("/v3/tasks/{}", task.guid);
        loop {
            // Before its lines are read: those of a task that has ended are all there.
            let now = self.cx.client.get_patiently::<Task>(&path).await;
            let now =
                now.map_err(|error| error.hint(format!("slipway task {} {id}", self.app.name)))?;
            if matches!(now.state, TaskState::Succeeded | TaskState::Failed) {
                self.drain(&now).await?;
                return self.end(&now);
            }
            self.print_new(task).await?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// All that the task has printed and that was not read yet.
    async fn drain(&mut self, task: &Task) -> Outcome {
        let since = Instant::now();
        while self.print_new(task).await? && since.elapsed() < LAST_LINES {}
        Ok(())
    }

    /// Prints what came since the last call, and says whether more may be there already. Lines are worth less than the task's
    /// end: where they cannot be read, waiting goes on.
    async fn print_new(&mut self, task: &Task) -> Outcome<bool> {
        let batch = match self.tail.next(&self.reader).await {
            Ok(batch) => batch,
            Err(error) => {
                self.cx.ui.warn(format!(
                    "the task's lines cannot be read: {}",
                    error.message
                ));
                return Ok(false);
            }
        };
        for line in batch.lines.iter().filter(|line| is_of(line, task)) {
            self.print(line)?;
        }
        Ok(batch.full)
    }

    fn print(&self, line: &Envelope) -> Outcome {
        let err = line.log.as_ref().map(|log| log.kind) == Some(LogKind::Err);
        let ui = &self.cx.ui;
        if ui.json() {
            let stream = if err { "err" } else { "out" };
            let fields =
                json!({"time": time(line.timestamp), "stream": stream, "line": text(line)});
            ui.event("log", fields)
        } else if err {
            ui.say(text(line));
            Ok(())
        } else {
            ui.data(text(line))
        }
    }

    fn end(&self, task: &Task) -> Outcome {
        match failure(&self.app.name, task) {
            Some(error) => Err(error),
            None => {
                self.cx
                    .ui
                    .event("result", json!({"ok": true, "task": task}))?;
                self.cx
                    .ui
                    .say(format!("task {} succeeded", task.sequence_id));
                Ok(())
            }
        }
    }
}

/// Slipway's lines carry the task's number; Cloud Foundry's carry 0.
fn is_of(line: &Envelope, task: &Task) -> bool {
    source(line).strip_prefix("APP/TASK/") == Some(task.name.as_str())
        && (line.instance_id == task.sequence_id.to_string() || line.instance_id == "0")
}

/// How a task that failed is told, with the exit status of its command.
fn failure(app: &str, task: &Task) -> Option<CliError> {
    if task.state != TaskState::Failed {
        return None;
    }
    let reason = task.result.failure_reason.as_deref();
    let reason = reason.unwrap_or("no reason was given");
    let (code, exit) = if reason.starts_with("InsufficientResources") {
        ("E-CAPACITY", Exit::Quota)
    } else {
        ("E-TASK", Exit::Other)
    };
    let id = task.sequence_id;
    let message = format!("task {id} {} failed: {reason}", task.name);
    let error = CliError::new(code, exit, message)
        .hint(format!("slipway task {app} {id}"))
        .hint(format!("slipway logs {app} --recent"));
    Some(match status(reason) {
        Some(status) => error.with_status(status),
        None => error,
    })
}

/// The status in `Exited with status N`.
fn status(reason: &str) -> Option<u8> {
    let rest = reason.strip_prefix("Exited with status ")?;
    let digits = rest
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or_default();
    digits.parse().ok().filter(|status| *status != 0)
}

#[cfg(test)]
mod tests {
    use api_types::TaskResult;

    use super::*;

    #[test]
    fn a_failed_task_ends_the_client_with_its_own_status() {
        for (reason, code, exit) in [
            (Some("Exited with status 3"), "E-TASK", 3),
            (
                Some("Exited with status 137 (out of memory)"),
                "E-TASK",
                137,
            ),
            (Some("Exited with status 0"), "E-TASK", 1),
            (Some("Exited with status 4711"), "E-TASK", 1),
            (Some("task was cancelled"), "E-TASK", 1),
            (Some("InsufficientResources: no cell"), "E-CAPACITY", 12),
            (None, "E-TASK", 1),
        ] {
            let task = Task {
                state: TaskState::Failed,
                result: TaskResult {
                    failure_reason: reason.map(str::to_owned),
                },
                ..Task::default()
            };
            let error = failure("hello", &task).expect("it failed");
            assert_eq!(
                (error.code.as_str(), error.exit_code()),
                (code, exit),
                "{reason:?}"
            );
        }
        assert_eq!(failure("hello", &Task::default()), None);
    }

    #[test]
    fn lines_of_other_tasks_are_not_shown() {
        let task = Task {
            name: "migrate".into(),
            sequence_id: 7,
            ..Task::default()
        };
        for (source, instance, want) in [
            ("APP/TASK/migrate", "7", true),
            ("APP/TASK/migrate", "0", true),
            ("APP/TASK/migrate", "8", false),
            ("APP/TASK/other", "7", false),
            ("APP/PROC/WEB", "7", false),
            ("CELL", "7", false),
        ] {
            let tags = [("source_type".to_owned(), source.to_owned())].into();
            let line = Envelope {
                tags,
                instance_id: instance.into(),
                ..Envelope::default()
            };
            assert_eq!(is_of(&line, &task), want, "{source} {instance}");
        }
    }
}
