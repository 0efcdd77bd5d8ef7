//! Buffers that are held only while there is something in them, so that waiting connections cost none.

use std::cell::RefCell;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

const SIZE: usize = 16 * 1024;
/// For each thread.
const MOST_KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
pub(super) struct Buffer(BytesMut);

impl Buffer {
    pub(super) fn empty() -> Self {
        let free = FREE.with_borrow_mut(Vec::pop);
        Self(free.unwrap_or_else(|| BytesMut::with_capacity(SIZE)))
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() == self.0.capacity()
    }

    /// Forgets the first bytes, and the buffer with the last.
    pub(super) fn consume(this: &mut Option<Self>, bytes: usize) {
        if let Some(buffer) = this {
            let left = buffer.len().saturating_sub(bytes);
            if left == 0 {
                *this = None;
            } else {
                buffer.copy_within(bytes.., 0);
                buffer.truncate(left);
            }
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        bytes.clear();
        // One that grew would keep its size.
        if bytes.capacity() == SIZE {
            // While a thread ends there is nothing to keep it for.
            let _ = FREE.try_with(|free| {
                let mut free = free.borrow_mut();
                if free.len() < MOST_KEPT {
                    free.push(bytes);
                }
            });
        }
    }
}

impl Deref for Buffer {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.0
    }
}

/// Reads what has arrived behind what is there; 0 bytes are the end.
pub(super) fn poll_fill(
    stream: &mut TcpStream,
    buffer: &mut Option<Buffer>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut into = buffer.take().unwrap_or_else(Buffer::empty);
    let polled = poll_read_buf(Pin::new(stream), cx, &mut into.0);
    if !into.is_empty() {
        *buffer = Some(into);
    }
    polled
}

pub(super) async fn write_all(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await
}
