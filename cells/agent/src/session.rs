//! The conversation with the server: opened by the cell, kept for ever, begun anew with a full report after every break.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use cells_engine::Engine;
use futures_util::future::{BoxFuture, Fuse, FusedFuture, OptionFuture};
use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use model::protocol::cell::{CellHello, CellMessage, HEARTBEAT, MAX_FRAME_BYTES, Order};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::cell::{Cell, blocking};
use crate::clock::Backoff;
use crate::orders;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// A server that does not take a frame for so long is held for gone.
const SEND: Duration = Duration::from_secs(15);

type Frames = Framed<TokioIo<Upgraded>, LengthDelimitedCodec>;

/// Talks to the server until the agent ends.
pub(crate) async fn keep<E: Engine>(cell: Arc<Cell<E>>) {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    let mut quiet = false;
    loop {
        let mut talked = false;
        let broken = tokio::select! {
            () = cell.shutdown.cancelled() => return,
            broken = converse(&cell, &mut talked) => broken,
        };
        if talked {
            backoff.reset();
            quiet = false;
        }
        match broken {
            Ok(()) => tracing::info!("the server ended the session"),
            // A server that is away is told once, not at every try.
            Err(error) if !quiet => tracing::warn!(
                error = format!("{error:#}"),
                "no session with the server; trying again"
            ),
            Err(error) => tracing::debug!(
                error = format!("{error:#}"),
                "still no session with the server"
            ),
        }
        quiet = true;
        tokio::select! {
            () = cell.shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

/// One session, from the upgrade to its end. `talked` tells whether it came about.
async fn converse<E: Engine>(cell: &Arc<Cell<E>>, talked: &mut bool) -> anyhow::Result<()> {
    let session = cell.server.open_session(cell.ledger.cell()).await?;
    if let Some(epoch) = session.epoch {
        let keeper = cell.clone();
        blocking(move || keeper.ledger.obey(epoch))
            .await
            .context("the server is not the leader any more")?;
    }
    let codec = LengthDelimitedCodec::builder()
        .max_frame_length(MAX_FRAME_BYTES)
        .new_codec();
    let mut frames = Framed::new(session.io, codec);
    send(&mut frames, &CellMessage::Hello(hello(cell))).await?;
    let mut changes = cell.reports.subscribe();
    let (mut sent, report) = cell.reports.full();
    send(&mut frames, &report).await?;
    *talked = true;
    tracing::info!(cell.id = %cell.ledger.cell(), "in session with the server");
    // One order at a time. What is acknowledged is on disk, and a disk that takes long must not make the cell silent.
    let mut obeying = OptionFuture::default();
    let broken = exchange(cell, &mut frames, &mut changes, &mut sent, &mut obeying).await;
    // An order that is carried out half would meet the orders of the next session.
    let _ = obeying.await;
    broken
}

type Obeying<'a> = OptionFuture<Fuse<BoxFuture<'a, CellMessage>>>;

/// Orders, reports and heartbeats, until the session breaks.
async fn exchange<'a, E: Engine>(
    cell: &'a Arc<Cell<E>>,
    frames: &mut Frames,
    changes: &mut watch::Receiver<u64>,
    sent: &mut u64,
    obeying: &mut Obeying<'a>,
) -> anyhow::Result<()> {
    let mut turn = Turn::default();
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            frame = frames.next(), if obeying.is_terminated() => {
                let Some(frame) = frame else { return Ok(()) };
                let order = read(&mut turn, &frame.context("the session broke off")?)?;
                *obeying = OptionFuture::from(Some(answer(cell, order).boxed().fuse()));
            }
            Some(answer) = &mut *obeying => {
                *obeying = OptionFuture::default();
                send(frames, &answer).await?;
            }
            _ = changes.changed() => {
                let (revision, messages) = cell.reports.since(*sent);
                for message in messages {
                    send(frames, &message).await?;
                }
                *sent = revision;
            }
            _ = heartbeat.tick() => send(frames, &heartbeat_of(cell)).await?,
        }
    }
}

/// The number of the last order of a session. One that comes doubled must not be obeyed again: a `Run` after its own `Stop`
/// and forgetting would start once more what has ended. One that is missing was lost, and only a new session with a full
/// report tells the server so.
#[derive(Debug, Default)]
struct Turn(u64);

impl Turn {
    /// Whether the order is new.
    fn take(&mut self, seq: u64) -> anyhow::Result<bool> {
        if seq > self.0 + 1 {
            bail!("order {seq} came after order {}", self.0);
        }
        let is_new = seq > self.0;
        self.0 = self.0.max(seq);
        Ok(is_new)
    }
}

/// What a frame of the server's is.
enum Received {
    New(Order),
    /// Its answer may have been lost; it is not obeyed again.
    Again {
        seq: u64,
    },
    Unknown {
        seq: u64,
        message: String,
    },
}

fn read(turn: &mut Turn, frame: &[u8]) -> anyhow::Result<Received> {
    #[derive(Deserialize)]
    struct Numbered {
        seq: u64,
    }
    match serde_json::from_slice::<Order>(frame) {
        Ok(order) if turn.take(order.seq)? => Ok(Received::New(order)),
        Ok(Order { seq, .. }) => Ok(Received::Again { seq }),
        // The text of the error could quote the order, and orders hold secrets.
        Err(error) => match serde_json::from_slice::<Numbered>(frame) {
            Ok(Numbered { seq }) => {
                turn.take(seq)?;
                let message = format!(
                    "this cell does not understand the order, at byte {}",
                    error.column()
                );
                Ok(Received::Unknown { seq, message })
            }
            Err(_) => bail!("the server sent something that is no order"),
        },
    }
}

async fn answer<E: Engine>(cell: &Arc<Cell<E>>, received: Received) -> CellMessage {
    match received {
        Received::New(order) => orders::obey(cell, order).await,
        Received::Again { seq } => CellMessage::Ack { seq },
        Received::Unknown { seq, message } => CellMessage::Refused { seq, message },
    }
}

fn hello<E: Engine>(cell: &Cell<E>) -> CellHello {
    CellHello {
        cell: cell.ledger.cell(),
        name: cell.config.name.clone(),
        incarnation: cell.ledger.incarnation(),
        epoch_seen: cell.ledger.epoch(),
        zone: cell.config.zone.clone(),
        stack: cell.stack.clone(),
        capacity: cell.capacity,
        isolation: cell.engine.isolation(),
        disk_limit: cell.engine.disk_limit(),
        min_free_disk: cell.room.least,
    }
}

/// Of what is known anyway, since it must never be late.
fn heartbeat_of<E: Engine>(cell: &Cell<E>) -> CellMessage {
    let usage = cell
        .instances
        .all()
        .iter()
        .filter_map(|instance| instance.usage())
        .collect();
    CellMessage::Heartbeat {
        usage,
        free_disk: cell.room.free(),
    }
}

async fn send(frames: &mut Frames, message: &CellMessage) -> anyhow::Result<()> {
    let bytes = serde_json::to_vec(message).context("could not write a message as JSON")?;
    timeout(SEND, frames.send(Bytes::from(bytes)))
        .await
        .context("the server takes no more")?
        .context("the session broke off")
}
