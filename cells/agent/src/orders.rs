//! Orders, one after the other. Each is safe to repeat: the ids in it were made by the server, and what is known already
//! is only acknowledged. An acknowledgement says that the ledger has it on disk, not that it is done.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use cells_engine::Engine;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use model::droplet::Image;
use model::ids::{InstanceId, StreamId, TaskId};
use model::instance::InstanceEvent;
use model::protocol::cell::{
    CellMessage, InstanceSpec, LogQuery, Order, OrderBody, StagingSpec, StreamRequest,
};
use model::task::TaskState;
use tokio::sync::mpsc;

use crate::cell::{Cell, blocking, text_of};
use crate::instance::{self, Instance};
use crate::layers::MAX_LAYER_BYTES;
use crate::ledger::{InstanceRecord, TaskRecord};
use crate::logs::{self, Reading};
use crate::staging::{self, Task};

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
        OrderBody::ForgetInstance { instance } => forget_instance(cell, instance).await,
        OrderBody::Stage(spec) => stage(cell, spec).await,
        OrderBody::CancelTask { task } => {
            if let Some(task) = cell.tasks.get(task) {
                task.cancel.cancel();
            }
            Ok(())
        }
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
    if spec.stack != cell.stack {
        return Err(format!(
            "this cell offers stack {}, not {}",
            cell.stack, spec.stack
        ));
    }
    if spec.layers.len() > Image::MAX_LAYERS
        || spec.layers.iter().any(|layer| layer.size > MAX_LAYER_BYTES)
    {
        return Err("the droplet has more or larger layers than a cell takes".into());
    }
    let live = cell
        .instances
        .all()
        .iter()
        .filter(|instance| !instance.record().state.is_exited())
        .count();
    if live >= cell.capacity.containers as usize {
        return Err(format!("this cell is full: it has {live} instances"));
    }
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
    let live = cell
        .tasks
        .all()
        .iter()
        .filter(|task| !matches!(task.record().state, TaskState::Done { .. }))
        .count();
    if live >= cell.config.concurrent_builds + staging::MAX_WAITING {
        return Err(format!(
            "this cell has {live} builds to do and takes no more"
        ));
    }
    let (keeper, record) = (cell.clone(), TaskRecord::new(&spec, cell.stack.clone()));
    let recorded = blocking(move || -> io::Result<_> {
        let logs = keeper.logs.begin(staging::log_meta(&record))?;
        keeper.ledger.save_task(&record)?;
        Ok(Task::new(record, logs))
    });
    let task = recorded.await.map_err(unrecorded)?;
    cell.tasks.insert(task.id, task.clone());
    cell.reports.put_task(task.record().report());
    cell.tracker.spawn(staging::live(
        cell.clone(),
        task,
        staging::Start::Fresh(spec),
    ));
    Ok(())
}

async fn forget_task<E: Engine>(cell: &Arc<Cell<E>>, id: TaskId) -> Result<(), Refusal> {
    if cell
        .tasks
        .get(id)
        .is_some_and(|task| !matches!(task.record().state, TaskState::Done { .. }))
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
