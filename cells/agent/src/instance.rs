//! The life of one instance: layers, container, health, end. One task per instance; nothing else touches its container.

use std::sync::Arc;
use std::time::Duration;

use cells_engine::{Container, ContainerExit, ContainerSpec, Engine};
use model::instance::{Exit, ExitReason, InstanceEvent, InstanceState};
use model::protocol::cell::{DiskLimit, InstanceSpec};
use tokio::time::Instant;

use crate::cell::{Cell, blocking, text_of};
use crate::launch::{self, Launch};
use crate::layers::Lease;
use crate::ledger::InstanceRecord;
use crate::removal;
use crate::watch::{FullDisk, Meter, terminate};

pub(crate) mod ending;
mod entry;
mod env;
mod health;

use ending::Ending;
pub(crate) use entry::{Instance, log_meta};

/// From where a life begins.
pub(crate) enum Start<C> {
    Fresh(Box<InstanceSpec>),
    /// Its container was started by an earlier agent.
    Adopted(C, Vec<Lease>),
}

/// Lives one instance's life to its end, or to the end of this agent.
pub(crate) async fn live<E: Engine>(
    cell: Arc<Cell<E>>,
    instance: Arc<Instance>,
    start: Start<E::Container>,
) {
    let life = Life { cell, instance };
    match start {
        Start::Fresh(spec) => match life.start(*spec).await {
            Ok(Some((container, leases))) => life.supervise(container, leases).await,
            Ok(None) => {}
            Err(exit) => life.end(exit, None).await,
        },
        Start::Adopted(container, leases) => life.supervise(container, leases).await,
    }
}

struct Life<E: Engine> {
    cell: Arc<Cell<E>>,
    instance: Arc<Instance>,
}

/// Between the word that an instance stops and its SIGTERM: routers take it out of their tables, and requests that were on
/// their way are answered. Diego waits 5 s; here the word needs no polling to get around.
const ROUTES_DRAIN: Duration = Duration::from_secs(1);

impl<E: Engine> Life<E> {
    /// Fetches layers and starts the container. None if the agent ends before.
    async fn start(&self, spec: InstanceSpec) -> Result<Option<(E::Container, Vec<Lease>)>, Exit> {
        self.note(format!(
            "Cell {} creating container for instance {}",
            self.cell.config.name, self.instance.id
        ))
        .await;
        let fetched = tokio::select! {
            biased;
            () = self.cell.shutdown.cancelled() => return Ok(None),
            () = self.instance.stop.cancelled() => return Err(ending::before_start(ExitReason::Stopped)),
            fetched = launch::fetch(&self.cell, &spec.layers) => fetched,
        };
        let not_started = |message| ending::before_start(ExitReason::NotStarted { message });
        let leases = fetched.map_err(not_started)?;
        let container_spec = self
            .container_spec(spec, &leases)
            .await
            .map_err(|error| not_started(text_of(&error)))?;
        // Not raced against a stop: a start takes milliseconds, and a half made container would be nobody's.
        let container = self
            .cell
            .engine
            .start(container_spec)
            .await
            .map_err(|error| not_started(text_of(&error)))?;
        self.note(format!(
            "Cell {} successfully created container for instance {}",
            self.cell.config.name, self.instance.id
        ))
        .await;
        Ok(Some((container, leases)))
    }

    async fn container_spec(
        &self,
        spec: InstanceSpec,
        leases: &[Lease],
    ) -> std::io::Result<ContainerSpec> {
        let name = self.instance.id.to_string();
        let port = env::choose_port(self.cell.engine.isolation())?;
        let mut env = env::complete(&spec, self.cell.engine.isolation(), port);
        launch::complete(&self.cell, &mut env, &name, spec.limits);
        let launch = Launch {
            name,
            layers: leases,
            command: &spec.command,
            env,
            limits: spec.limits,
            log_rate: spec.log_rate,
        };
        launch::container(&self.cell, launch).await
    }

    /// Watches exit, orders, health and usage at once, and settles the end. Returns early where the agent ends.
    async fn supervise(&self, container: E::Container, leases: Vec<Lease>) {
        let state = self.instance.record().state;
        let ending = match state {
            InstanceState::Exited { .. } => return self.clear_away(&container, leases).await,
            // The agent that decided this was restarted before the end.
            InstanceState::Stopping => Ending::Decided,
            InstanceState::Starting | InstanceState::Running { .. } => self.watch(&container).await,
        };
        let verdict = match ending {
            Ending::AgentStops => return,
            Ending::Ended(exit) => return self.settle(container, leases, exit, false).await,
            Ending::Stopped | Ending::Decided => None,
            Ending::Verdict(verdict) => {
                self.note(ending::sentence(&verdict)).await;
                Some(verdict)
            }
        };
        // What was decided is in the ledger; an agent that goes now leaves the rest to the next one.
        tokio::select! {
            biased;
            () = self.cell.shutdown.cancelled() => {}
            (exit, killed) = self.terminate(&container, verdict) => self.settle(container, leases, exit, killed).await,
        }
    }

    /// Tells the end of a container and clears it away.
    async fn settle(
        &self,
        container: E::Container,
        leases: Vec<Lease>,
        exit: Result<ContainerExit, String>,
        killed: bool,
    ) {
        let record = self.instance.record();
        let logs = self.instance.logs.clone();
        let last_lines =
            blocking(move || logs.last_lines(Exit::MAX_LINES, ending::MAX_LINE_BYTES)).await;
        let exit = ending::exit(ending::decided(&record), record.limits, exit, last_lines);
        self.note(ending::exit_line(&exit, killed.then_some(record.grace)))
            .await;
        self.end(exit, Some((&container, leases))).await;
    }

    async fn watch(&self, container: &E::Container) -> Ending {
        let record = self.instance.record();
        let limit = record.limits.disk.bytes();
        tokio::select! {
            biased;
            ended = container.wait() => Ending::Ended(ended.map_err(|error| text_of(&error))),
            () = self.instance.stop.cancelled() => Ending::Stopped,
            () = self.cell.shutdown.cancelled() => Ending::AgentStops,
            verdict = self.watch_health(container, &record) => Ending::Verdict(verdict),
            used_bytes = self.watch_disk(container, limit) => {
                Ending::Verdict(ExitReason::OutOfDisk { limit_bytes: limit, used_bytes })
            }
        }
    }

    /// Keeps the usage figures fresh. Completes with the used bytes when they exceed the disk limit, where nothing else keeps
    /// the instance to it.
    async fn watch_disk(&self, container: &E::Container, limit: u64) -> u64 {
        let mut meter = Meter::default();
        let mut full = FullDisk::default();
        loop {
            let mut sample = meter.next(container).await;
            match self.cell.engine.disk_limit() {
                DiskLimit::Hard => sample.usage.disk_bytes = sample.usage.disk_bytes.min(limit),
                DiskLimit::Sampled if sample.usage.disk_bytes > limit => {
                    return sample.usage.disk_bytes;
                }
                DiskLimit::Sampled => {}
            }
            self.instance.note_sample(Some(sample));
            if full.is_news(sample.usage.disk_full, Instant::now()) {
                self.note(ending::full_disk_sentence(limit)).await;
            }
        }
    }

    /// Checks health until it fails for good.
    async fn watch_health(&self, container: &E::Container, record: &InstanceRecord) -> ExitReason {
        let address = std::net::SocketAddr::new(container.address(), container.port());
        if record.state == InstanceState::Starting {
            if let Err(last) = health::until_healthy(&record.health, address).await {
                let listening = container.listeners().await.unwrap_or_default();
                let timeout_s = record.health.start_timeout.as_secs();
                let check = health::describe(&record.health.kind, address.port(), &last);
                return ExitReason::NeverHealthy {
                    timeout_s,
                    check,
                    listening,
                };
            }
            self.note("Container became healthy".to_owned()).await;
            self.apply(InstanceEvent::BecameHealthy { address }, None)
                .await;
        }
        let last = health::until_unhealthy(&record.health, address).await;
        ExitReason::BecameUnhealthy {
            check: health::describe(&record.health.kind, address.port(), &last),
        }
    }

    async fn terminate(
        &self,
        container: &E::Container,
        verdict: Option<ExitReason>,
    ) -> (Result<ContainerExit, String>, bool) {
        self.note(format!(
            "Cell {} stopping instance {}",
            self.cell.config.name, self.instance.id
        ))
        .await;
        // Reported before the signal, so that no more requests come in while it finishes those it has.
        self.apply(InstanceEvent::StopRequested, verdict).await;
        if self.instance.has_served() {
            // An end meanwhile is found by what follows.
            let _ = tokio::time::timeout(ROUTES_DRAIN, container.wait()).await;
        }
        let terminated = terminate(container, self.instance.record().grace).await;
        (terminated.exit, terminated.killed)
    }

    async fn end(&self, exit: Exit, container: Option<(&E::Container, Vec<Lease>)>) {
        if container.is_none() {
            self.note(ending::exit_line(&exit, None)).await;
        }
        self.instance.note_sample(None);
        self.apply(InstanceEvent::Exited(exit), None).await;
        match container {
            Some((container, leases)) => self.clear_away(container, leases).await,
            None => {
                let name = self.instance.id.to_string();
                match removal::left_by_start(&self.cell, &name).await {
                    Some(left) => self.clear_away(&left, Vec::new()).await,
                    None => self.keep_logs().await,
                }
            }
        }
    }

    async fn clear_away(&self, container: &E::Container, leases: Vec<Lease>) {
        if !removal::remove(&self.cell, container).await {
            return;
        }
        // Until then, it may still stand on its layers.
        drop(leases);
        self.keep_logs().await;
    }

    async fn keep_logs(&self) {
        let (cell, logs) = (self.cell.clone(), self.instance.logs.clone());
        if let Err(error) = blocking(move || cell.logs.end(&logs)).await {
            tracing::error!(instance = %self.instance.id, %error, "could not put an ended instance's log in its place");
        }
    }

    async fn apply(&self, event: InstanceEvent, verdict: Option<ExitReason>) {
        let (cell, instance) = (self.cell.clone(), self.instance.clone());
        if let Err(error) = blocking(move || instance.apply(&cell, event, verdict)).await {
            tracing::error!(instance = %self.instance.id, %error, "could not record an instance's state");
        }
    }

    async fn note(&self, text: String) {
        let logs = self.instance.logs.clone();
        blocking(move || logs.note(&text)).await;
    }
}
