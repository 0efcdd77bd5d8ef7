//! One conversation with one cell.

use bytes::BytesMut;
use futures_util::{SinkExt as _, StreamExt as _};
use model::ids::{CellId, TaskId};
use model::instance::{ExitReason, InstanceReport, InstanceState};
use model::protocol::cell::{
    CellHello, CellMessage, MAX_FRAME_BYTES, Order, OrderBody, PRESENCE_TTL,
};
use model::task::{StagingFailure, TaskOutcome, TaskReport, TaskState};
use scheduler::{Event, Time};
use std::collections::{BTreeMap, HashSet};
use std::io;
use store::TaskTeller;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use super::state::{CellLink, MAX_WAITING_ORDERS};
use super::{Fleet, orders};

/// Why a session ended before its time.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("the cell sent no valid message")]
    Invalid(#[source] serde_json::Error),
    #[error("the cell broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("the cell was not heard of for {} s", PRESENCE_TTL.as_secs())]
    Silent,
    #[error("it left an order unanswered for {} s", PRESENCE_TTL.as_secs())]
    Unanswered,
    #[error("a newer session speaks for the cell, or it is held for lost")]
    Superseded,
    #[error("the store failed")]
    Store(#[from] store::Error),
}

impl Fleet {
    pub(crate) fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// Talks with a cell until the connection ends. `cell` is the one that the address named; it must be the one that
    /// greets.
    pub async fn session(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        cell: CellId,
        shutdown: CancellationToken,
    ) {
        let codec = LengthDelimitedCodec::builder()
            .length_field_length(4)
            .max_frame_length(MAX_FRAME_BYTES)
            .new_codec();
        let mut frames = Framed::new(io, codec);
        let result = tokio::select! {
            result = self.converse(&mut frames, cell) => result,
            () = shutdown.cancelled() => Ok(()),
        };
        match result {
            Ok(()) => tracing::debug!(cell.id = %cell, "a cell's session ended"),
            Err(error) => {
                tracing::warn!(cell.id = %cell, error = &error as &dyn std::error::Error, "a cell's session ended")
            }
        }
    }

    async fn converse<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        frames: &mut Framed<T, LengthDelimitedCodec>,
        cell: CellId,
    ) -> Result<(), Ended> {
        let CellMessage::Hello(hello) =
            next(frames).await?.ok_or(Ended::Protocol("no greeting"))?
        else {
            return Err(Ended::Protocol("the first message is not a greeting"));
        };
        if hello.cell != cell {
            return Err(Ended::Protocol("it greets as another cell"));
        }
        if hello.epoch_seen > self.inner.epoch {
            return Err(Ended::Protocol("it obeys a newer leader"));
        }
        let Some(CellMessage::Report {
            instances,
            tasks,
            strangers,
        }) = next(frames).await?
        else {
            return Err(Ended::Protocol("the second message is not a full report"));
        };
        self.loaded().await;
        if self.has_other_life(&hello) {
            return Err(Ended::Protocol(
                "another life of the same cell is connected: its disk was copied, or it was started anew and the end of the \
                 old one is not noticed yet",
            ));
        }
        self.inner
            .store
            .join_cell(cell, &hello.name, hello.incarnation)
            .await?;
        let (sender, mut orders) = mpsc::channel(MAX_WAITING_ORDERS);
        let (session, lost) = self.join(hello, sender, &instances, &tasks);
        tracing::info!(cell.id = %cell, instances = instances.len(), tasks = tasks.len(), "a cell joined");
        let result = async {
            for report in &instances {
                self.take_exit(cell, report).await?;
            }
            self.take_tasks(cell, tasks, &lost).await?;
            self.reap(cell, strangers);
            self.inner.changed.notify_one();
            self.exchange(frames, cell, session, &mut orders).await
        }
        .await;
        self.leave(cell, session);
        result
    }

    /// Completes once what should run was read.
    async fn loaded(&self) {
        let mut loaded = self.inner.loaded.subscribe();
        // The sender lives as long as the fleet.
        let _ = loaded.wait_for(|loaded| *loaded).await;
    }

    /// Orders out, messages in, until one side ends.
    async fn exchange<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        frames: &mut Framed<T, LengthDelimitedCodec>,
        cell: CellId,
        session: u64,
        orders: &mut mpsc::Receiver<OrderBody>,
    ) -> Result<(), Ended> {
        let mut seq = 0;
        let mut unanswered: BTreeMap<u64, (Instant, OrderBody)> = BTreeMap::new();
        loop {
            // What became of it, only a full report can tell; so there has to be a new session.
            let oldest = unanswered.values().next().map(|(sent, _)| *sent);
            if oldest.is_some_and(|sent| sent.elapsed() > PRESENCE_TTL) {
                return Err(Ended::Unanswered);
            }
            tokio::select! {
                order = orders.recv() => {
                    let Some(body) = order else { return Ok(()) };
                    seq += 1;
                    let order = Order { epoch: self.inner.epoch, seq, body };
                    let json = serde_json::to_vec(&order).map_err(Ended::Invalid)?;
                    let sent = tokio::time::timeout(PRESENCE_TTL, frames.send(bytes::Bytes::from(json)));
                    sent.await.map_err(|_| Ended::Silent)?.map_err(Ended::Broken)?;
                    unanswered.insert(seq, (Instant::now(), order.body));
                }
                message = tokio::time::timeout(PRESENCE_TTL, next(frames)) => {
                    let message = message.map_err(|_| Ended::Silent)??;
                    let Some(message) = message else { return Ok(()) };
                    if !self.heard(cell, session) {
                        return Err(Ended::Superseded);
                    }
                    match message {
                        CellMessage::Ack { seq } => { unanswered.remove(&seq); }
                        CellMessage::Refused { seq, message } => {
                            if let Some((_, order)) = unanswered.remove(&seq) {
                                self.refused(cell, &order, &message).await?;
                            }
                        }
                        CellMessage::Instance(report) => self.take(cell, session, report).await?,
                        CellMessage::Task(report) => self.take_task(cell, report).await?,
                        CellMessage::Heartbeat { usage, free_disk } => {
                            let mut state = self.state();
                            if state.note_free_disk(cell, free_disk) {
                                self.inner.changed.notify_one();
                            }
                            for usage in usage {
                                // Of an instance that was forgotten meanwhile, nobody would take it away again.
                                if state.reports.contains_key(&usage.instance) {
                                    state.usage.insert(usage.instance, usage);
                                }
                            }
                        }
                        CellMessage::Hello(_) | CellMessage::Report { .. } => {
                            return Err(Ended::Protocol("it greets twice"));
                        }
                    }
                }
            }
        }
    }

    /// Takes over a cell with its full report, in one step, so that no plan is made from half of it: what was booked there
    /// and the cell does not have is gone. Returns the session's number and the tasks that were ordered and are not there.
    fn join(
        &self,
        hello: CellHello,
        orders: mpsc::Sender<OrderBody>,
        instances: &[InstanceReport],
        tasks: &[TaskReport],
    ) -> (u64, HashSet<TaskId>) {
        let cell = hello.cell;
        let mut state = self.state();
        state.sessions += 1;
        let session = state.sessions;
        state.apply(Event::CellUp {
            cell,
            zone: hello.zone.clone(),
            stack: hello.stack.clone(),
            capacity: hello.capacity,
        });
        let reported = instances
            .iter()
            .map(|report| report.instance)
            .collect::<HashSet<_>>();
        let suspects = state.suspects.iter();
        let known = state.reports.iter().chain(suspects);
        let known = known.filter(|(_, (on, _))| *on == cell);
        let mut gone = known.map(|(instance, _)| *instance).collect::<Vec<_>>();
        gone.extend(state.scheduler.instances_on(cell));
        gone.retain(|instance| !reported.contains(instance));
        for instance in gone {
            state.forget(instance);
            state.apply(Event::InstanceGone { cell, instance });
        }
        for report in instances {
            // When the cell says that it was, since this server may hear of it late.
            let since = Time(report.since_us).min(state.now());
            state.take_report(cell, report.clone(), since);
        }
        for report in tasks {
            if !matches!(report.state, TaskState::Done { .. }) {
                state.apply(Event::TaskPlaced {
                    task: report.task,
                    cell,
                });
            }
        }
        let ordered = state.ordered_tasks.iter().filter(|(_, on)| **on == cell);
        let lost = ordered
            .map(|(task, _)| *task)
            .filter(|task| !tasks.iter().any(|report| report.task == *task))
            .collect();
        state.cells.insert(
            cell,
            CellLink {
                hello,
                orders: Some(orders),
                free_disk: None,
                heard: Instant::now(),
                session,
            },
        );
        (session, lost)
    }

    /// Whether a cell of the same name, but with another disk or another start of its host, is connected.
    fn has_other_life(&self, hello: &CellHello) -> bool {
        let state = self.state();
        state
            .cells
            .get(&hello.cell)
            .is_some_and(|link| link.is_connected() && link.hello.incarnation != hello.incarnation)
    }

    /// Has containers removed of which the cell knows no more than the name. No instance or build is known under it either,
    /// or the cell would know it: only a ledger that was lost can have held it.
    fn reap(&self, cell: CellId, strangers: Vec<String>) {
        let mut state = self.state();
        for container in strangers {
            tracing::warn!(cell.id = %cell, container.name = container, "a container that the cell's ledger does not know is removed");
            state.send(cell, OrderBody::Reap { container });
        }
    }

    /// The session ended. The cell counts as present until its TTL passes; it may come back at once.
    fn leave(&self, cell: CellId, session: u64) {
        let mut state = self.state();
        if let Some(link) = state.cells.get_mut(&cell)
            && link.session == session
        {
            link.orders = None;
        }
        drop(state);
        self.inner.changed.notify_one();
    }

    /// Notes that the cell lives. Says whether this session still speaks for it.
    fn heard(&self, cell: CellId, session: u64) -> bool {
        let mut state = self.state();
        match state.cells.get_mut(&cell) {
            Some(link) if link.session == session => {
                link.heard = Instant::now();
                true
            }
            _ => false,
        }
    }

    async fn take(&self, cell: CellId, session: u64, report: InstanceReport) -> Result<(), Ended> {
        {
            let mut state = self.state();
            if !state.is_session(cell, session) {
                return Err(Ended::Superseded);
            }
            let now = state.now();
            state.take_report(cell, report.clone(), now);
        }
        self.inner.changed.notify_one();
        self.take_exit(cell, &report).await
    }

    /// Writes down an end that was reported; then the cell may forget it.
    async fn take_exit(&self, cell: CellId, report: &InstanceReport) -> Result<(), Ended> {
        let InstanceState::Exited { exit } = &report.state else {
            return Ok(());
        };
        let instance = report.instance;
        if !matches!(exit.reason, ExitReason::Stopped | ExitReason::Lost { .. }) {
            let (wanted, count) = {
                let state = self.state();
                let wanted = state.wanted.get(&report.process).cloned();
                (wanted, state.crash_count(report, exit))
            };
            orders::note_crash(
                &self.inner.store,
                report.app,
                wanted.as_ref(),
                instance,
                report.index,
                exit,
                count.as_ref(),
            )
            .await?;
        }
        let mut state = self.state();
        state.forget(instance);
        state.send(cell, OrderBody::ForgetInstance { instance });
        Ok(())
    }

    /// What a cell refuses it has not begun.
    async fn task_refused(&self, task: TaskId, message: &str) -> Result<(), Ended> {
        let failure = StagingFailure::NoCapacity {
            message: message.to_owned(),
        };
        let outcome = TaskOutcome::Failed { failure };
        Ok(self.finish_task(task, outcome, TaskTeller::Server).await?)
    }

    async fn refused(&self, cell: CellId, order: &OrderBody, message: &str) -> Result<(), Ended> {
        tracing::warn!(cell.id = %cell, message, "a cell refused an order");
        match order {
            OrderBody::Run(spec) => {
                let mut state = self.state();
                state.forget(spec.instance);
                state.apply(Event::InstanceGone {
                    cell,
                    instance: spec.instance,
                });
            }
            OrderBody::Stage(spec) => self.task_refused(spec.task, message).await?,
            OrderBody::RunTask(spec) => self.task_refused(spec.task, message).await?,
            OrderBody::OpenStream { stream, .. } => self.inner.streams.give_up(*stream),
            OrderBody::Stop { .. }
            | OrderBody::Reap { .. }
            | OrderBody::ForgetInstance { .. }
            | OrderBody::CancelTask { .. }
            | OrderBody::ForgetTask { .. } => {}
        }
        self.inner.changed.notify_one();
        Ok(())
    }
}

async fn next<T: AsyncRead + AsyncWrite + Unpin>(
    frames: &mut Framed<T, LengthDelimitedCodec>,
) -> Result<Option<CellMessage>, Ended> {
    let frame: Option<BytesMut> = frames.next().await.transpose().map_err(Ended::Broken)?;
    frame
        .map(|frame| serde_json::from_slice(&frame).map_err(Ended::Invalid))
        .transpose()
}
