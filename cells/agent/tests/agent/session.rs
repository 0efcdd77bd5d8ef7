//! One conversation with a cell, from the server's side.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use model::droplet::Stack;
use model::ids::{InstanceId, TaskId};
use model::instance::{InstanceReport, InstanceState};
use model::protocol::cell::{CellHello, CellMessage, InstanceUsage, Order, OrderBody};
use model::task::{TaskOutcome, TaskReport, TaskState};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::world::within;

/// One conversation, from the server's side.
pub(crate) struct Session {
    pub(crate) frames: Framed<TokioIo<hyper::upgrade::Upgraded>, LengthDelimitedCodec>,
    pub(crate) seq: u64,
    pub(crate) epoch: u64,
    /// Messages that came while something else was waited for.
    pub(crate) inbox: Vec<CellMessage>,
    pub(crate) hello: Option<CellHello>,
    pub(crate) instances: Vec<InstanceReport>,
    pub(crate) tasks: Vec<TaskReport>,
    pub(crate) strangers: Vec<String>,
}

impl Session {
    pub(crate) fn stack(&self) -> Stack {
        self.hello.as_ref().unwrap().stack.clone()
    }

    /// Sends an order and waits for nothing. Returns its number.
    pub(crate) async fn send(&mut self, body: OrderBody) -> u64 {
        self.seq += 1;
        let seq = self.seq;
        let order = Order {
            epoch: self.epoch,
            seq,
            body,
        };
        self.frames
            .send(Bytes::from(serde_json::to_vec(&order).unwrap()))
            .await
            .unwrap();
        seq
    }

    /// Sends an order; the answer is an acknowledgement or the reason of a refusal.
    pub(crate) async fn order(&mut self, body: OrderBody) -> Result<(), String> {
        let seq = self.send(body).await;
        loop {
            match self.read().await {
                CellMessage::Ack { seq: of } if of == seq => return Ok(()),
                CellMessage::Refused { seq: of, message } if of == seq => return Err(message),
                other => self.inbox.push(other),
            }
        }
    }

    pub(crate) async fn accepted(&mut self, body: OrderBody) {
        self.order(body).await.unwrap();
    }

    /// Waits for the state of an instance that `wanted` picks.
    pub(crate) async fn instance_state<T>(
        &mut self,
        id: InstanceId,
        mut wanted: impl FnMut(&InstanceState) -> Option<T>,
    ) -> T {
        self.wait_for(|message| match message {
            CellMessage::Instance(report) if report.instance == id => wanted(&report.state),
            _ => None,
        })
        .await
    }

    /// Waits until all of these run, whichever is first.
    pub(crate) async fn all_run(&mut self, ids: impl IntoIterator<Item = InstanceId>) {
        let mut waiting: HashSet<InstanceId> = ids.into_iter().collect();
        while !waiting.is_empty() {
            let running = self
                .wait_for(|message| match message {
                    CellMessage::Instance(report) => {
                        matches!(report.state, InstanceState::Running { .. })
                            .then_some(report.instance)
                    }
                    _ => None,
                })
                .await;
            waiting.remove(&running);
        }
    }

    pub(crate) async fn exit_of(&mut self, id: InstanceId) -> model::instance::Exit {
        self.instance_state(id, |state| match state {
            InstanceState::Exited { exit } => Some(exit.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn started(&mut self, id: TaskId) {
        self.wait_for(|message| {
            matches!(message, CellMessage::Task(report) if report.task == id && report.state == TaskState::Started).then_some(())
        })
        .await;
    }

    pub(crate) async fn outcome(&mut self, id: TaskId) -> TaskOutcome {
        self.wait_for(|message| match message {
            CellMessage::Task(TaskReport {
                task,
                state: TaskState::Done { outcome },
            }) if *task == id => Some(outcome.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn usage_of(&mut self, id: InstanceId) -> InstanceUsage {
        self.wait_for(|message| match message {
            CellMessage::Heartbeat { usage, .. } => {
                usage.iter().find(|usage| usage.instance == id).cloned()
            }
            _ => None,
        })
        .await
    }

    /// The first message that `wanted` picks; the full report counts as messages too. Those before it are forgotten.
    async fn wait_for<T>(&mut self, mut wanted: impl FnMut(&CellMessage) -> Option<T>) -> T {
        let mut waiting = std::mem::take(&mut self.inbox).into_iter();
        while let Some(message) = waiting.next() {
            if let Some(found) = wanted(&message) {
                self.inbox.extend(waiting);
                return found;
            }
        }
        within(async {
            loop {
                let message = self.read().await;
                if let Some(found) = wanted(&message) {
                    return found;
                }
            }
        })
        .await
    }

    pub(crate) async fn read(&mut self) -> CellMessage {
        let frame = within(self.frames.next())
            .await
            .expect("the cell ended the session")
            .unwrap();
        serde_json::from_slice(&frame).unwrap()
    }
}
