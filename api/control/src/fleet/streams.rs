//! Byte streams that were asked for and have not come yet.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use model::ids::StreamId;
use tokio::sync::{mpsc, oneshot};

/// Chunks of a stream in memory before its sender must wait.
const MAX_WAITING_CHUNKS: usize = 16;
/// Streams that may be awaited at once.
const MAX_STREAMS: usize = 10_000;

pub(crate) type Chunks = mpsc::Receiver<Bytes>;

#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<HashMap<StreamId, oneshot::Sender<Chunks>>>);

impl Streams {
    /// Expects a stream. `None` where too many are expected already.
    pub(super) fn expect(&self, stream: StreamId) -> Option<oneshot::Receiver<Chunks>> {
        let mut waiting = self.0.lock().expect("no panic while held");
        if waiting.len() >= MAX_STREAMS {
            // Whoever asked may have gone without giving up.
            waiting.retain(|_, sender| !sender.is_closed());
            if waiting.len() >= MAX_STREAMS {
                return None;
            }
        }
        let (sender, receiver) = oneshot::channel();
        waiting.insert(stream, sender);
        Some(receiver)
    }

    pub(super) fn give_up(&self, stream: StreamId) {
        self.0.lock().expect("no panic while held").remove(&stream);
    }

    /// A stream came. `None` where nobody waits for it (any more).
    pub(super) fn arrived(&self, stream: StreamId) -> Option<mpsc::Sender<Bytes>> {
        let waiting = self
            .0
            .lock()
            .expect("no panic while held")
            .remove(&stream)?;
        let (sender, receiver) = mpsc::channel(MAX_WAITING_CHUNKS);
        waiting.send(receiver).ok()?;
        Some(sender)
    }
}

impl super::Fleet {
    /// Asks every connected cell for a stream; cells that cannot be asked are left out.
    pub(crate) fn open_streams(
        &self,
        request: &model::protocol::cell::StreamRequest,
    ) -> Vec<(StreamId, oneshot::Receiver<Chunks>)> {
        let mut state = self.state();
        let cells = state
            .cells
            .iter()
            .filter(|(_, link)| link.is_connected())
            .map(|(cell, _)| *cell)
            .collect::<Vec<_>>();
        let mut opened = Vec::new();
        for cell in cells {
            let stream = StreamId::random();
            if let Some(receiver) = self.inner.streams.expect(stream) {
                let request = request.clone();
                state.send(
                    cell,
                    model::protocol::cell::OrderBody::OpenStream { stream, request },
                );
                opened.push((stream, receiver));
            }
        }
        opened
    }

    pub(crate) fn stream_arrived(&self, stream: StreamId) -> Option<mpsc::Sender<Bytes>> {
        self.inner.streams.arrived(stream)
    }

    pub(crate) fn give_up_stream(&self, stream: StreamId) {
        self.inner.streams.give_up(stream);
    }
}
