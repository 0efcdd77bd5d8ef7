//! The life of one build: package, container, verdict, layers. A build runs at most once: what the ledger says has
//! started is never started again, and its result stays in the ledger until the server has stored it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cells_engine::{Container, ContainerExit, Engine};
use model::ids::TaskId;
use model::protocol::cell::{DiskLimit, StagingSpec, package_blob};
use model::task::{StagingFailure, TaskOutcome, TaskState};

use crate::cell::{Cell, blocking, text_of};
use crate::clock;
use crate::durable;
use crate::ledger::BuildWork;
use crate::removal;
use crate::task::{Start, Task};
use crate::watch::{Meter, terminate};

mod caches;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod maven;
mod output;
mod prepare;

pub(crate) use caches::Caches;

/// Builds that a cell takes on beyond those that run.
pub(crate) const MAX_WAITING: usize = 64;
/// From SIGTERM to SIGKILL for a build that was cancelled or took too long.
const GRACE: Duration = Duration::from_secs(5);
/// What a build leaves is foreign, and an agent that it brings down is followed by one that finds it again.
const MAX_TAKEN_IN: u32 = 2;
const MAX_LINES: usize = 20;
/// As JSON; evidence of many builds has to fit into one report.
const MAX_LINE_BYTES: usize = 1000;

/// Why a build's container is no longer watched.
enum Ending {
    Ended(Result<ContainerExit, String>),
    Cancelled,
    TimedOut,
    OutOfDisk,
    AgentStops,
}

/// Lives one build's life to its end, or to the end of this agent.
pub(crate) async fn live<E: Engine>(
    cell: Arc<Cell<E>>,
    task: Arc<Task>,
    work: BuildWork,
    start: Start<StagingSpec, E::Container>,
) {
    let life = Life { cell, task, work };
    let shutdown = life.cell.shutdown.clone();
    match start {
        Start::Fresh(spec) => {
            let permits = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = life.task.cancel.cancelled() => return life.finish(TaskOutcome::Cancelled, None).await,
                permits = life.cell.build_caches.take_turn(spec.app, &life.cell.build_slots) => permits,
            };
            match life.start(&spec).await {
                Ok(Some(container)) => life.supervise(container).await,
                Ok(None) => {}
                Err(outcome) => life.finish(outcome, None).await,
            }
            drop(permits);
        }
        Start::Adopted(container) => {
            // It runs already, so it does not wait for its turn; but while it runs, others do.
            let app = life.task.record().app;
            let _turn = life
                .cell
                .build_caches
                .take_turn_now(app, &life.cell.build_slots);
            life.supervise(container).await;
        }
    }
}

#[derive(Clone)]
struct Life<E: Engine> {
    cell: Arc<Cell<E>>,
    task: Arc<Task>,
    work: BuildWork,
}

impl<E: Engine> Life<E> {
    /// Fetches the package and starts the container. None if the agent ends before.
    async fn start(&self, spec: &StagingSpec) -> Result<Option<E::Container>, TaskOutcome> {
        let internal = |message| TaskOutcome::Failed {
            failure: StagingFailure::Internal { message },
        };
        self.note(format!(
            "Cell {} creating container for build {}",
            self.cell.config.name, spec.build
        ))
        .await;
        let package = self.folder().join("in/package.zip");
        let fetched = tokio::select! {
            biased;
            () = self.cell.shutdown.cancelled() => return Ok(None),
            () = self.task.cancel.cancelled() => return Err(TaskOutcome::Cancelled),
            fetched = self.fetch_package(spec, package) => fetched,
        };
        fetched.map_err(internal)?;
        let (cell, order) = (self.cell.clone(), spec.clone());
        let prepared = blocking(move || prepare::prepare(&cell, &order)).await;
        let container_spec =
            prepared.map_err(|error| internal(format!("could not prepare the build: {error}")))?;
        let started = self.apply(TaskState::Started).await;
        started.map_err(|error| {
            internal(format!("could not record the start of the build: {error}"))
        })?;
        let container = self.cell.engine.start(container_spec).await;
        container.map(Some).map_err(|error| {
            internal(format!(
                "could not start the build's container: {}",
                text_of(&error)
            ))
        })
    }

    async fn fetch_package(&self, spec: &StagingSpec, to: PathBuf) -> Result<(), String> {
        let folder = self.folder();
        let made = blocking(move || {
            durable::remove_all(&folder)?;
            std::fs::create_dir_all(folder.join("in"))
        });
        made.await
            .map_err(|error| format!("could not make the build's folder: {error}"))?;
        let blob = package_blob(&spec.package);
        self.cell
            .server
            .download(&blob, &to, spec.package_size)
            .await
            .map_err(|error| text_of(&error))?;
        let wanted = spec.package;
        let got = blocking(move || output::digest_of(&to))
            .await
            .map_err(|error| format!("could not read the package: {error}"))?;
        if got == wanted {
            Ok(())
        } else {
            Err(format!("package {wanted} arrived as {got}"))
        }
    }

    /// Watches the container to its end and settles the outcome. Returns early where the agent ends.
    async fn supervise(&self, container: E::Container) {
        let outcome = match self.watch(&container).await {
            Ending::AgentStops => return,
            Ending::Cancelled => {
                self.cut_short(&container, "Build is cancelled", TaskOutcome::Cancelled)
                    .await
            }
            Ending::TimedOut => {
                let seconds = self.work.timeout.as_secs();
                let failure = StagingFailure::TimedOut {
                    seconds,
                    last_lines: self.last_lines().await,
                };
                let note = format!("Build takes longer than {seconds} s and is ended");
                self.cut_short(&container, &note, TaskOutcome::Failed { failure })
                    .await
            }
            Ending::OutOfDisk => {
                let limit_bytes = self.task.record().limits.disk.bytes();
                let failure = StagingFailure::OutOfDisk { limit_bytes };
                let note =
                    format!("Build exceeded its disk limit of {limit_bytes} bytes and is ended");
                self.cut_short(&container, &note, TaskOutcome::Failed { failure })
                    .await
            }
            Ending::Ended(ended) => match self.take_in(&container, ended).await {
                Some(outcome) => outcome,
                None => return,
            },
        };
        self.finish(outcome, Some(&container)).await;
    }

    async fn cut_short(
        &self,
        container: &E::Container,
        note: &str,
        outcome: TaskOutcome,
    ) -> TaskOutcome {
        self.note(note.to_owned()).await;
        terminate(container, GRACE).await;
        outcome
    }

    async fn watch(&self, container: &E::Container) -> Ending {
        let record = self.task.record();
        let limit = record.limits.disk.bytes();
        let left = self
            .work
            .timeout
            .saturating_sub(clock::elapsed_since(record.since_us));
        tokio::select! {
            biased;
            ended = container.wait() => Ending::Ended(ended.map_err(|error| text_of(&error))),
            () = self.task.cancel.cancelled() => Ending::Cancelled,
            () = self.cell.shutdown.cancelled() => Ending::AgentStops,
            () = tokio::time::sleep(left) => Ending::TimedOut,
            () = self.watch_disk(container, limit) => Ending::OutOfDisk,
        }
    }

    /// Completes when the build has written more than its disk limit, its output folder included, and what its cache
    /// exceeds the budget by. Never where a disk of that size does the same.
    async fn watch_disk(&self, container: &E::Container, limit: u64) {
        if self.cell.engine.disk_limit() == DiskLimit::Hard {
            return std::future::pending().await;
        }
        let mut meter = Meter::default();
        let app = self.task.record().app;
        loop {
            let sample = meter.next(container).await;
            let cell = self.cell.clone();
            let outside = blocking(move || cell.build_caches.excess(app)).await;
            if sample.usage.disk_bytes + outside > limit {
                return;
            }
        }
    }

    /// Settles what a build has left that ended by itself. None where the agent ends.
    async fn take_in(
        &self,
        container: &E::Container,
        ended: Result<ContainerExit, String>,
    ) -> Option<TaskOutcome> {
        let before = self.task.record().taken_in;
        if before >= MAX_TAKEN_IN {
            let message = format!(
                "the cell's agent has ended {before} times while it took in what the build left; push again, and where that \
                 fails too, look into the agent's log"
            );
            let failure = StagingFailure::Internal { message };
            return Some(TaskOutcome::Failed { failure });
        }
        self.note_taken_in(before + 1).await;
        tokio::select! {
            biased;
            () = self.cell.shutdown.cancelled() => {
                self.note_taken_in(before).await;
                None
            }
            () = self.task.cancel.cancelled() => Some(TaskOutcome::Cancelled),
            outcome = self.settle(container, ended) => Some(outcome),
        }
    }

    async fn note_taken_in(&self, times: u32) {
        let (cell, task) = (self.cell.clone(), self.task.clone());
        if let Err(error) = blocking(move || task.note_taken_in(&cell, times)).await {
            tracing::warn!(task = %self.task.id, %error, "could not record that a build's output is taken in");
        }
    }

    /// The outcome of a build whose container has ended by itself.
    async fn settle(
        &self,
        container: &E::Container,
        ended: Result<ContainerExit, String>,
    ) -> TaskOutcome {
        let failed = |failure| TaskOutcome::Failed { failure };
        let internal = |message| failed(StagingFailure::Internal { message });
        let stack = self.work.stack.clone();
        let ended = match ended {
            Ok(ended) => ended,
            Err(message) => return internal(format!("the build's container was lost: {message}")),
        };
        let results = match container.results().await {
            Ok(results) => results,
            Err(error) => {
                return internal(format!(
                    "the build's results were lost: {}",
                    text_of(&error)
                ));
            }
        };
        let (out, disk) = (results.path.clone(), self.task.record().limits.disk.bytes());
        let read = blocking(move || output::read(&out, &stack, disk)).await;
        match read {
            Ok(output::Output::Built(image)) => match self.store(&image, &results.path).await {
                Ok(()) => TaskOutcome::Staged { image },
                Err(failure) => failed(failure),
            },
            // A tool that the kernel killed is reported as failed by the lifecycle, which cannot know why.
            _ if ended.oom_killed => failed(StagingFailure::OutOfMemory {
                limit_bytes: self.task.record().limits.memory.bytes(),
            }),
            // Nor does a tool always say why it could not write.
            _ if ended.disk_full => failed(StagingFailure::OutOfDisk {
                limit_bytes: self.task.record().limits.disk.bytes(),
            }),
            _ if ended.cache_full => {
                self.note("The app's build cache is full and is emptied; the next build begins without it".to_owned())
                    .await;
                let limit = self.task.record().limits.disk;
                failed(StagingFailure::OutOfDisk {
                    limit_bytes: limit.bytes(),
                })
            }
            Ok(output::Output::Failed(failure)) => failed(failure),
            Err(problem) => {
                let lines = self.last_lines().await.join(" / ");
                internal(format!(
                    "the lifecycle ended with status {}, and {problem}; its last output: {lines}",
                    ended.status
                ))
            }
        }
    }

    /// Checks every layer and brings those to the server that it lacks.
    async fn store(
        &self,
        image: &model::droplet::Image,
        results: &Path,
    ) -> Result<(), StagingFailure> {
        let out = results.join("layers");
        let bytes: u64 = image.layers.iter().map(|layer| layer.compressed_size).sum();
        self.note(format!(
            "Storing droplet of {} layers, {} KiB",
            image.layers.len(),
            bytes.div_ceil(1024)
        ))
        .await;
        for layer in &image.layers {
            output::store_layer(&self.cell.layers, &self.cell.server, layer, &out).await?;
        }
        Ok(())
    }

    async fn finish(&self, outcome: TaskOutcome, container: Option<&E::Container>) {
        let last = match &outcome {
            TaskOutcome::Staged { .. } => "Build succeeded",
            TaskOutcome::Failed { .. } | TaskOutcome::Ran { .. } => "Build failed",
            TaskOutcome::Cancelled => "Build was cancelled",
        };
        self.note(last.to_owned()).await;
        if let Err(error) = self.apply(TaskState::Done { outcome }).await {
            tracing::error!(task = %self.task.id, %error, "could not record a build's outcome");
        }
        let left = match container {
            Some(container) => Some(container.clone()),
            None => removal::left_by_start(&self.cell, &self.task.id.to_string()).await,
        };
        let mut cache_full = false;
        if let Some(container) = left {
            if container.remove().await.is_err() {
                // Other builds do not wait until it is gone, and the cache is theirs by then.
                let life = self.clone();
                self.cell.tracker.spawn(async move {
                    if removal::remove(&life.cell, &container).await {
                        life.clear_away(|_| Ok(())).await;
                    }
                });
                return;
            }
            cache_full = container.wait().await.is_ok_and(|ended| ended.cache_full);
        }
        let app = self.task.record().app;
        self.clear_away(move |cell| cell.build_caches.make_room(app, cache_full))
            .await;
    }

    async fn clear_away(
        &self,
        last: impl FnOnce(&Cell<E>) -> std::io::Result<()> + Send + 'static,
    ) {
        let (cell, logs, folder) = (self.cell.clone(), self.task.logs.clone(), self.folder());
        let cleared = blocking(move || {
            cell.logs.end(&logs)?;
            durable::remove_all(&folder)?;
            last(&cell)
        });
        if let Err(error) = cleared.await {
            tracing::error!(task = %self.task.id, %error, "could not clear away after a build");
        }
    }

    fn folder(&self) -> PathBuf {
        prepare::folder(&self.cell.config, self.task.id)
    }

    async fn last_lines(&self) -> Vec<String> {
        let logs = self.task.logs.clone();
        blocking(move || logs.last_lines(MAX_LINES, MAX_LINE_BYTES)).await
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

/// Removes the package of a task, if it was a build. Blocks.
pub(crate) fn remove_folder(config: &crate::Config, task: TaskId) -> std::io::Result<()> {
    durable::remove_all(&prepare::folder(config, task))
}

/// Removes what builds have left that the ledger does not know.
pub(crate) fn sweep(config: &crate::Config, known: &[TaskId]) -> std::io::Result<()> {
    prepare::sweep(config, known)
}
