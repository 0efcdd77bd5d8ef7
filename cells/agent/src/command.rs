//! The life of one one-off task: layers, container, end. Its command runs at most once: what the ledger says has begun is
//! never begun again, and its result stays in the ledger until the server has stored it.

use std::sync::Arc;

use cells_engine::{Container, ContainerExit, Engine};
use model::instance::{Exit, ExitReason};
use model::protocol::cell::{DiskLimit, Isolation, TaskSpec};
use model::task::{TaskOutcome, TaskState};

use crate::cell::{Cell, blocking, text_of};
use crate::instance::ending;
use crate::launch::{self, Launch};
use crate::layers::Lease;
use crate::ledger::CommandWork;
use crate::removal;
use crate::task::{Start, Task};
use crate::watch::{Meter, terminate};

/// Why a task's container is no longer watched.
enum Watched {
    Ended(Result<ContainerExit, String>),
    /// Somebody has decided its end: who cancelled it, or this cell.
    Decided(ExitReason),
    AgentStops,
}

/// Lives one task's life to its end, or to the end of this agent.
pub(crate) async fn live<E: Engine>(
    cell: Arc<Cell<E>>,
    task: Arc<Task>,
    work: CommandWork,
    start: Start<TaskSpec, (E::Container, Vec<Lease>)>,
) {
    let life = Life { cell, task, work };
    match start {
        Start::Fresh(spec) => match life.start(&spec).await {
            Ok(Some((container, leases))) => life.supervise(container, leases).await,
            Ok(None) => {}
            Err(outcome) => life.finish(outcome, None).await,
        },
        Start::Adopted((container, leases)) => life.supervise(container, leases).await,
    }
}

struct Life<E: Engine> {
    cell: Arc<Cell<E>>,
    task: Arc<Task>,
    work: CommandWork,
}

impl<E: Engine> Life<E> {
    /// Fetches layers and starts the container. None if the agent ends before.
    async fn start(
        &self,
        spec: &TaskSpec,
    ) -> Result<Option<(E::Container, Vec<Lease>)>, TaskOutcome> {
        let not_started = |message| TaskOutcome::Ran {
            exit: ending::before_start(ExitReason::NotStarted { message }),
        };
        self.note(format!(
            "Cell {} creating container for task {}",
            self.cell.config.name, self.work.name
        ))
        .await;
        let fetched = tokio::select! {
            biased;
            () = self.cell.shutdown.cancelled() => return Ok(None),
            () = self.task.cancel.cancelled() => return Err(TaskOutcome::Cancelled),
            fetched = launch::fetch(&self.cell, &spec.layers) => fetched,
        };
        let leases = fetched.map_err(not_started)?;
        let name = self.task.id.to_string();
        let launch = Launch {
            env: self.env(spec, &name),
            name,
            layers: &leases,
            command: &spec.command,
            limits: spec.limits,
            log_rate: None,
        };
        let container_spec = launch::container(&self.cell, launch)
            .await
            .map_err(|error| not_started(text_of(&error)))?;
        let started = self.apply(TaskState::Started).await;
        started.map_err(|error| {
            not_started(format!("could not record the start of the task: {error}"))
        })?;
        // Not raced against a cancellation: a start takes milliseconds, and a half made container would be nobody's.
        let container = self.cell.engine.start(container_spec).await;
        let container = container.map_err(|error| not_started(text_of(&error)))?;
        self.note(format!(
            "Cell {} successfully created container for task {}",
            self.cell.config.name, self.work.name
        ))
        .await;
        Ok(Some((container, leases)))
    }

    fn env(&self, spec: &TaskSpec, name: &str) -> model::secret::Env {
        let mut env = spec.env.clone();
        launch::complete(&self.cell, &mut env, name, spec.limits);
        if self.cell.engine.isolation() == Isolation::Process {
            // In a container, the engine knows the address only when it has made the network, and sets these itself.
            env.set("CF_INSTANCE_IP", "127.0.0.1");
            env.set("CF_INSTANCE_INTERNAL_IP", "127.0.0.1");
        }
        env
    }

    /// Watches the container to its end and tells it. Returns early where the agent ends: what was decided is in the
    /// ledger, and the next agent goes on with it.
    async fn supervise(&self, container: E::Container, leases: Vec<Lease>) {
        let decided = match self.task.record().verdict {
            // The agent that decided this was restarted before the end.
            Some(verdict) => Watched::Decided(verdict),
            None => self.watch(&container).await,
        };
        let ended = match decided {
            Watched::AgentStops => return,
            Watched::Ended(ended) => ended,
            Watched::Decided(verdict) => {
                self.decide(verdict).await;
                tokio::select! {
                    biased;
                    () = self.cell.shutdown.cancelled() => return,
                    terminated = terminate(&container, self.work.grace) => terminated.exit,
                }
            }
        };
        let outcome = self.outcome(ended).await;
        self.finish(outcome, Some((&container, leases))).await;
    }

    async fn watch(&self, container: &E::Container) -> Watched {
        let limit_bytes = self.task.record().limits.disk.bytes();
        tokio::select! {
            biased;
            ended = container.wait() => Watched::Ended(ended.map_err(|error| text_of(&error))),
            () = self.task.cancel.cancelled() => Watched::Decided(ExitReason::Stopped),
            () = self.cell.shutdown.cancelled() => Watched::AgentStops,
            used_bytes = self.watch_disk(container, limit_bytes) => {
                Watched::Decided(ExitReason::OutOfDisk { limit_bytes, used_bytes })
            }
        }
    }

    /// Completes with the used bytes when they exceed the limit, where no disk of that size keeps the task to it.
    async fn watch_disk(&self, container: &E::Container, limit_bytes: u64) -> u64 {
        if self.cell.engine.disk_limit() == DiskLimit::Hard {
            return std::future::pending().await;
        }
        let mut meter = Meter::default();
        loop {
            let used_bytes = meter.next(container).await.usage.disk_bytes;
            if used_bytes > limit_bytes {
                return used_bytes;
            }
        }
    }

    async fn decide(&self, verdict: ExitReason) {
        self.note(match verdict {
            ExitReason::Stopped => format!(
                "Cell {} stopping task {}",
                self.cell.config.name, self.work.name
            ),
            ref other => ending::sentence(other),
        })
        .await;
        let (cell, task) = (self.cell.clone(), self.task.clone());
        if let Err(error) = blocking(move || task.decide(&cell, verdict)).await {
            tracing::error!(task = %self.task.id, %error, "could not record why a task is ended");
        }
    }

    async fn outcome(&self, ended: Result<ContainerExit, String>) -> TaskOutcome {
        let record = self.task.record();
        // Nobody reads the last lines: whoever wants to know looks into the logs.
        let exit = ending::exit(record.verdict, record.limits, ended, Vec::new());
        self.note_end(&exit).await;
        if exit.reason == ExitReason::Stopped {
            TaskOutcome::Cancelled
        } else {
            TaskOutcome::Ran { exit }
        }
    }

    async fn finish(&self, outcome: TaskOutcome, container: Option<(&E::Container, Vec<Lease>)>) {
        if let (TaskOutcome::Ran { exit }, None) = (&outcome, &container) {
            self.note_end(exit).await;
        }
        if let Err(error) = self.apply(TaskState::Done { outcome }).await {
            tracing::error!(task = %self.task.id, %error, "could not record a task's outcome");
        }
        let left = match container {
            Some((container, leases)) => Some((container.clone(), leases)),
            None => removal::left_by_start(&self.cell, &self.task.id.to_string())
                .await
                .map(|left| (left, Vec::new())),
        };
        if let Some((container, leases)) = left {
            if !removal::remove(&self.cell, &container).await {
                return;
            }
            // Until then, it may still stand on its layers.
            drop(leases);
        }
        let (cell, task) = (self.cell.clone(), self.task.clone());
        if let Err(error) = blocking(move || task.end_logs(&cell.logs)).await {
            tracing::error!(task = %self.task.id, %error, "could not put an ended task's log in its place");
        }
    }

    /// Names the task, since an instance of the app may have the same index.
    async fn note_end(&self, exit: &Exit) {
        let line = ending::exit_line(exit, None);
        self.note(format!("Task {}: {line}", self.work.name)).await;
    }

    async fn apply(&self, state: TaskState) -> std::io::Result<()> {
        let (cell, task) = (self.cell.clone(), self.task.clone());
        blocking(move || task.apply(&cell, state)).await
    }

    async fn note(&self, text: String) {
        let logs = self.task.logs.clone();
        blocking(move || logs.note(&text)).await;
    }
}
