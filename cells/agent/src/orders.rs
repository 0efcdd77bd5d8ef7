//! Orders, one after the other. Each is safe to repeat: the ids in it were made by the server, and what is known already
//! is only acknowledged. An acknowledgement says that the ledger has it on disk, not that it is done.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cells_engine::Engine;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use model::ids::{InstanceId, StreamId, TaskId};
use model::instance::{ExitReason, InstanceEvent};
use model::protocol::cell::{
    CellMessage, InstanceSpec, LogQuery, Order, OrderBody, StagingSpec, StreamRequest, TaskSpec,
};
use tokio::sync::mpsc;

use crate::cell::{Cell, blocking, text_of};
use crate::instance::{self, Instance};
use crate::ledger::{InstanceRecord, TaskRecord, TaskWork};
use crate::logs::{self, Reading};
use crate::task::{self, Start, Task};
use crate::{command, launch, staging, strangers};

/// Bytes of a stream that are sent at once.
const CHUNK: usize = 64 * 1024;
/// Chunks of one stream that wait for the server.
const CHUNKS: usize = 4;

/// Why an order was not taken; the server reads it.
type Refusal = String;

/// Takes an order and says so, or refuses it and says why.
pub(crate) async fn obey<E: Engine>(cell: &Arc<Cell<E>>, order: Order) -> CellMessage {
    let seq = order.seq;
    match take(cell, order).await {
        Ok(()) => CellMessage::Ack { seq },
        Err(message) => {
            tracing::warn!(seq, message, "refused an order");
            CellMessage::Refused { seq, message }
        }
    }
}

async fn take<E: Engine>(cell: &Arc<Cell<E>>, order: Order) -> Result<(), Refusal> {
    let (epoch, keeper) = (order.epoch, cell.clone());
    blocking(move || keeper.ledger.obey(epoch))
        .await
        .map_err(|error| text_of(&error))?;
    match order.body {
        OrderBody::Run(spec) => run(cell, spec).await,
        OrderBody::Stop { instance } => stop(cell, instance).await,
        OrderBody::Reap { container } => {
            strangers::reap(cell, container);
            Ok(())
        }
        OrderBody::ForgetInstance { instance } => forget_instance(cell, instance).await,
        OrderBody::Stage(spec) => stage(cell, spec).await,
        OrderBody::RunTask(spec) => run_task(cell, spec).await,
        OrderBody::CancelTask { task } => cancel_task(cell, task).await,
        OrderBody::ForgetTask { task } => forget_task(cell, task).await,
        OrderBody::OpenStream {
            stream,
            request: StreamRequest::Logs(query),
        } => open_stream(cell, stream, query),
    }
}

async fn run<E: Engine>(cell: &Arc<Cell<E>>, spec: Box<InstanceSpec>) -> Result<(), Refusal> {
    if cell.instances.get(spec.instance).is_some() {
        return Ok(());
    }
    launch::check(cell, &spec.stack, &spec.layers)?;
    check_room(cell)?;
    cell.room.check().await?;
    let (keeper, record) = (cell.clone(), InstanceRecord::new(&spec));
    let recorded = blocking(move || -> io::Result<_> {
        let logs = keeper.logs.begin(instance::log_meta(&record))?;
        keeper.ledger.save_instance(&record)?;
        Ok(Instance::new(record, logs))
    });
    let instance = recorded.await.map_err(unrecorded)?;
    cell.instances.insert(instance.id, instance.clone());
    cell.reports.put_instance(instance.record().report());
    cell.tracker.spawn(instance::live(
        cell.clone(),
        instance,
        instance::Start::Fresh(spec),
    ));
    Ok(())
}

/// Whether there is room for one more container of an app.
fn check_room<E: Engine>(cell: &Cell<E>) -> Result<(), Refusal> {
    let instances = cell.instances.all();
    let instances = instances
        .iter()
        .filter(|instance| !instance.record().state.is_exited())
        .count();
    let tasks = live_tasks(cell, |work| matches!(work, TaskWork::Command(_)));
    if instances + tasks >= cell.capacity.containers as usize {
        return Err(format!(
            "this cell is full: it has {instances} instances and {tasks} tasks"
        ));
    }
    Ok(())
}

fn live_tasks<E: Engine>(cell: &Cell<E>, counts: impl Fn(&TaskWork) -> bool) -> usize {
    let records = cell.tasks.all();
    let records = records.iter().map(|task| task.record());
    records
        .filter(|record| !record.is_done() && counts(&record.work))
        .count()
}

async fn stop<E: Engine>(cell: &Arc<Cell<E>>, instance: InstanceId) -> Result<(), Refusal> {
    let Some(instance) = cell.instances.get(instance) else {
        return Ok(());
    };
    let (keeper, stopping) = (cell.clone(), instance.clone());
    let recorded =
        blocking(move || stopping.apply(&keeper, InstanceEvent::StopRequested, None)).await;
    // It is stopped in any case; without the record, an agent started anew would only not know that it was asked to.
    instance.stop.cancel();
    recorded.map_err(unrecorded)
}

async fn forget_instance<E: Engine>(cell: &Arc<Cell<E>>, id: InstanceId) -> Result<(), Refusal> {
    if cell
        .instances
        .get(id)
        .is_some_and(|instance| !instance.record().state.is_exited())
    {
        return Err(format!(
            "instance {id} has not ended and cannot be forgotten"
        ));
    }
    let keeper = cell.clone();
    blocking(move || keeper.ledger.forget_instance(id))
        .await
        .map_err(unrecorded)?;
    cell.instances.remove(id);
    cell.reports.forget_instance(id);
    Ok(())
}

async fn stage<E: Engine>(cell: &Arc<Cell<E>>, spec: Box<StagingSpec>) -> Result<(), Refusal> {
    if cell.tasks.get(spec.task).is_some() {
        return Ok(());
    }
    let live = live_tasks(cell, |work| matches!(work, TaskWork::Build(_)));
    if live >= cell.config.concurrent_builds + staging::MAX_WAITING {
        return Err(format!(
            "this cell has {live} builds to do and takes no more"
        ));
    }
    cell.room.check().await?;
    let record = TaskRecord::of_build(&spec, cell.stack.clone());
    let TaskWork::Build(work) = record.work.clone() else {
        return Ok(());
    };
    let task = take_on(cell, record).await?;
    cell.tracker
        .spawn(staging::live(cell.clone(), task, work, Start::Fresh(spec)));
    Ok(())
}

async fn run_task<E: Engine>(cell: &Arc<Cell<E>>, spec: Box<TaskSpec>) -> Result<(), Refusal> {
    if cell.tasks.get(spec.task).is_some() {
        return Ok(());
    }
    launch::check(cell, &spec.stack, &spec.layers)?;
    check_room(cell)?;
    cell.room.check().await?;
    let record = TaskRecord::of_command(&spec);
    let TaskWork::Command(work) = record.work.clone() else {
        return Ok(());
    };
    let task = take_on(cell, record).await?;
    cell.tracker
        .spawn(command::live(cell.clone(), task, work, Start::Fresh(spec)));
    Ok(())
}

/// Puts a task into the books: on disk before it is acknowledged.
async fn take_on<E: Engine>(cell: &Arc<Cell<E>>, record: TaskRecord) -> Result<Arc<Task>, Refusal> {
    let keeper = cell.clone();
    let recorded = blocking(move || -> io::Result<_> {
        let logs = keeper.logs.begin(task::log_meta(&record))?;
        keeper.ledger.save_task(&record)?;
        Ok(Task::new(record, logs))
    });
    let task = recorded.await.map_err(unrecorded)?;
    cell.tasks.insert(task.id, task.clone());
    cell.reports.put_task(task.record().report());
    Ok(task)
}

async fn cancel_task<E: Engine>(cell: &Arc<Cell<E>>, task: TaskId) -> Result<(), Refusal> {
    let Some(task) = cell.tasks.get(task) else {
        return Ok(());
    };
    let (keeper, cancelled) = (cell.clone(), task.clone());
    let recorded = blocking(move || cancelled.decide(&keeper, ExitReason::Stopped)).await;
    // It is ended in any case; without the record, an agent started anew would only not know that it was asked to.
    task.cancel.cancel();
    recorded.map_err(unrecorded)
}

async fn forget_task<E: Engine>(cell: &Arc<Cell<E>>, id: TaskId) -> Result<(), Refusal> {
    if cell
        .tasks
        .get(id)
        .is_some_and(|task| !task.record().is_done())
    {
        return Err(format!("task {id} has not ended and cannot be forgotten"));
    }
    let keeper = cell.clone();
    blocking(move || keeper.ledger.forget_task(id))
        .await
        .map_err(unrecorded)?;
    cell.tasks.remove(id);
    cell.reports.forget_task(id);
    Ok(())
}

fn open_stream<E: Engine>(
    cell: &Arc<Cell<E>>,
    stream: StreamId,
    query: LogQuery,
) -> Result<(), Refusal> {
    let Ok(permit) = cell.streams.clone().try_acquire_owned() else {
        return Err("this cell has too many streams open; ask again".into());
    };
    let cell_of_stream = cell.clone();
    cell.tracker.spawn(async move {
        let sent = tokio::select! {
            () = cell_of_stream.shutdown.cancelled() => return,
            sent = send_logs(&cell_of_stream, stream, query) => sent,
        };
        if let Err(error) = sent {
            tracing::warn!(%stream, error = text_of(&error), "could not send a stream of log lines");
        }
        drop(permit);
    });
    Ok(())
}

async fn send_logs<E: Engine>(
    cell: &Arc<Cell<E>>,
    stream: StreamId,
    query: LogQuery,
) -> Result<(), crate::server::ServerError> {
    let (sender, mut chunks) = mpsc::channel(CHUNKS);
    let body = StreamBody::new(stream::poll_fn(move |context| chunks.poll_recv(context)));
    let reader = cell.clone();
    let read = blocking(move || {
        if let Err(error) = fill(&reader.logs, &query, &sender) {
            // A broken body is how the server learns that lines are missing.
            let _ = sender.blocking_send(Err(error));
        }
    });
    tokio::join!(cell.server.stream(stream, BodyExt::boxed(body)), read).0
}

fn fill(
    logs: &logs::Logs,
    query: &LogQuery,
    sender: &mpsc::Sender<io::Result<Frame<Bytes>>>,
) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut failed = None;
    logs::read(logs, query, |line| {
        if let Err(error) = serde_json::to_writer(&mut chunk, &line) {
            failed = Some(io::Error::other(error));
            return Reading::Stop;
        }
        chunk.push(b'\n');
        if chunk.len() < CHUNK
            || sender
                .blocking_send(Ok(Frame::data(std::mem::take(&mut chunk).into())))
                .is_ok()
        {
            Reading::Continue
        } else {
            Reading::Stop
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    if !chunk.is_empty() {
        // A receiver that is gone has ended the stream itself.
        let _ = sender.blocking_send(Ok(Frame::data(chunk.into())));
    }
    Ok(())
}

fn unrecorded(error: io::Error) -> Refusal {
    format!("the ledger could not record it: {error}")
}
