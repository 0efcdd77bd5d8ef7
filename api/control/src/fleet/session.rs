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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

use super::state::{CellLink, MAX_WAITING_ORDERS};
use super::{Fleet, now, orders};

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
    #[error("the store failed")]
    Store(#[from] store::Error),
}

impl Fleet {
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
        let Some(CellMessage::Report { instances, tasks }) = next(frames).await? else {
            return Err(Ended::Protocol("the second message is not a full report"));
        };
        self.inner
            .store
            .join_cell(cell, &hello.name, hello.incarnation)
            .await?;
        let (sender, mut orders) = mpsc::channel(MAX_WAITING_ORDERS);
        let session = self.join(hello, sender, &instances, &tasks);
        tracing::info!(cell.id = %cell, instances = instances.len(), tasks = tasks.len(), "a cell joined");
        let result = async {
            for report in instances {
                let since = Time(report.since_us).min(now());
                self.take(cell, report, since).await?;
            }
            for report in tasks {
                self.take_task(cell, report).await?;
            }
            self.settle_builds_of(cell).await?;
            self.inner.changed.notify_one();
            self.exchange(frames, cell, &mut orders).await
        }
        .await;
        self.leave(cell, session);
        result
    }

    /// Orders out, messages in, until one side ends.
    async fn exchange<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        frames: &mut Framed<T, LengthDelimitedCodec>,
        cell: CellId,
        orders: &mut mpsc::Receiver<OrderBody>,
    ) -> Result<(), Ended> {
        let mut seq = 0;
        let mut unanswered: BTreeMap<u64, OrderBody> = BTreeMap::new();
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some(body) = order else { return Ok(()) };
                    seq += 1;
                    let order = Order { epoch: self.inner.epoch, seq, body };
                    let json = serde_json::to_vec(&order).map_err(Ended::Invalid)?;
                    frames.send(bytes::Bytes::from(json)).await.map_err(Ended::Broken)?;
                    unanswered.insert(seq, order.body);
                }
                message = tokio::time::timeout(PRESENCE_TTL, next(frames)) => {
                    let message = message.map_err(|_| Ended::Silent)??;
                    let Some(message) = message else { return Ok(()) };
                    self.heard(cell);
                    match message {
                        CellMessage::Ack { seq } => { unanswered.remove(&seq); }
                        CellMessage::Refused { seq, message } => {
                            if let Some(order) = unanswered.remove(&seq) {
                                self.refused(cell, &order, &message).await?;
                            }
                        }
                        CellMessage::Instance(report) => self.take(cell, report, now()).await?,
                        CellMessage::Task(report) => self.take_task(cell, report).await?,
                        CellMessage::Heartbeat { usage, .. } => {
                            let mut state = self.state();
                            for usage in usage {
                                state.usage.insert(usage.instance, usage);
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

    /// Notes a cell with its full report: what the scheduler has booked there and the cell does not have is gone.
    fn join(
        &self,
        hello: CellHello,
        orders: mpsc::Sender<OrderBody>,
        instances: &[InstanceReport],
        tasks: &[TaskReport],
    ) -> u64 {
        let cell = hello.cell;
        let mut state = self.state();
        let session = state.cells.get(&cell).map_or(1, |link| link.session + 1);
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
        for instance in state.scheduler.instances_on(cell) {
            if !reported.contains(&instance) {
                state.forget(instance);
                state.apply(Event::InstanceGone { cell, instance });
            }
        }
        for report in tasks {
            if !matches!(report.state, TaskState::Done { .. }) {
                state.apply(Event::TaskPlaced {
                    task: report.task,
                    cell,
                });
            }
        }
        state.cells.insert(
            cell,
            CellLink {
                hello,
                orders: Some(orders),
                heard: Instant::now(),
                session,
            },
        );
        state.awaited.remove(&cell);
        session
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

    fn heard(&self, cell: CellId) {
        if let Some(link) = self.state().cells.get_mut(&cell) {
            link.heard = Instant::now();
        }
    }

    /// `at` is when the instance entered its state as far as this server is concerned: when it hears of it, or, for a full
    /// report after a restart, when the cell says it was.
    async fn take(&self, cell: CellId, report: InstanceReport, at: Time) -> Result<(), Ended> {
        let exit = match &report.state {
            InstanceState::Exited { exit } => Some(exit.clone()),
            _ => None,
        };
        let (instance, app, process, index) =
            (report.instance, report.app, report.process, report.index);
        let wanted = {
            let mut state = self.state();
            state.take_report(cell, report, at);
            state.wanted.get(&process).cloned()
        };
        self.inner.changed.notify_one();
        if let Some(exit) = exit {
            if !matches!(exit.reason, ExitReason::Stopped | ExitReason::Lost { .. }) {
                orders::note_crash(
                    &self.inner.store,
                    app,
                    wanted.as_ref(),
                    instance,
                    index,
                    &exit,
                )
                .await?;
            }
            let mut state = self.state();
            state.forget(instance);
            state.send(cell, OrderBody::ForgetInstance { instance });
        }
        Ok(())
    }

    async fn take_task(&self, cell: CellId, report: TaskReport) -> Result<(), Ended> {
        let TaskState::Done { outcome } = report.state else {
            return Ok(());
        };
        self.finish_task(report.task, outcome).await?;
        self.state()
            .send(cell, OrderBody::ForgetTask { task: report.task });
        Ok(())
    }

    pub(super) async fn finish_task(
        &self,
        task: TaskId,
        outcome: TaskOutcome,
    ) -> Result<(), store::Error> {
        orders::finish_build(&self.inner.store, task, outcome).await?;
        let mut state = self.state();
        state.waiting_tasks.remove(&task);
        state.apply(Event::TaskEnded { task });
        drop(state);
        self.inner.changed.notify_one();
        Ok(())
    }

    /// Builds that were sent to this cell and that it does not know are lost: they run at most once.
    async fn settle_builds_of(&self, cell: CellId) -> Result<(), Ended> {
        let known = self
            .state()
            .scheduler
            .tasks_on(cell)
            .into_iter()
            .collect::<HashSet<_>>();
        for build in self.inner.store.list_staging_builds().await? {
            if build.placed.is_some_and(|placed| placed.cell == cell)
                && !known.contains(&build.task)
            {
                self.finish_task(
                    build.task,
                    TaskOutcome::Failed {
                        failure: StagingFailure::CellLost,
                    },
                )
                .await?;
            }
        }
        Ok(())
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
            OrderBody::Stage(spec) => {
                let failure = StagingFailure::NoCapacity {
                    message: message.to_owned(),
                };
                self.finish_task(spec.task, TaskOutcome::Failed { failure })
                    .await?;
            }
            OrderBody::OpenStream { stream, .. } => self.inner.streams.give_up(*stream),
            OrderBody::Stop { .. }
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
