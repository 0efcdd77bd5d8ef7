//! The exchange with an instance: send, await the head, pass on the body.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BufMut as _;
use tokio::net::TcpStream;

use super::answer::{AnswerHead, Head, Manner, head};
use super::buffer::{Buffer, poll_fill, write_all};
use super::framing::Framing;
use super::plan::Plan;
use super::watch::Watch;
use crate::front::Drain;
use crate::proxy::Proxy;
use crate::proxy::failure::Failure;

/// A dial that takes longer is left to the long way, which tries other instances.
const QUICK_DIAL: Duration = Duration::from_millis(500);
const MAX_ANSWER_HEAD_BYTES: usize = 128 * 1024;

/// What follows on the client's connection.
#[derive(Debug)]
pub(super) enum Ending {
    /// The next request, behind so many bytes.
    Next(usize),
    Close,
    /// The same request on the long way.
    LongWay,
}

pub(super) struct Exchange<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) plan: Plan,
    pub(super) stream: &'a mut TcpStream,
    /// What the client has sent, this request first.
    pub(super) input: &'a mut Option<Buffer>,
    pub(super) watch: &'a mut Watch,
    pub(super) drain: &'a Drain,
}

/// Why there is no answer.
enum NoAnswer {
    /// The instance closed before the first byte of one.
    Closed,
    Broken,
    Silent,
    ClientLeft,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relayed {
    Whole,
    /// The instance said more than its answer, so its connection is not used again.
    WithMoreBehind,
    Cut,
}

enum Piece {
    Data,
    End,
    ClientLeft,
}

impl Exchange<'_> {
    pub(super) async fn run(&mut self) -> Result<Ending, Failure> {
        let begun = Instant::now();
        let kept = self.plan.endpoint.pool().take_plain().await;
        let mut is_kept = kept.is_some();
        let mut upstream = match kept {
            Some(upstream) => upstream,
            None => match self.dial().await {
                Some(upstream) => upstream,
                None => return Ok(self.long_way()),
            },
        };
        let mut received = None;
        let answer = loop {
            match self.answer(&mut upstream, &mut received).await {
                Ok(answer) => break answer,
                // A kept connection can turn out to be closed; all that comes here may be sent again.
                Err(NoAnswer::Closed) if is_kept => match self.dial().await {
                    Some(fresh) => (upstream, is_kept) = (fresh, false),
                    None => return Ok(self.long_way()),
                },
                Err(NoAnswer::Closed | NoAnswer::Broken) => return Err(Failure::broken_answer()),
                Err(NoAnswer::Silent) => return Err(Failure::answer_timeout()),
                Err(NoAnswer::ClientLeft) => return Ok(Ending::Close),
            }
        };
        self.plan.record.waited(begun);
        self.plan.endpoint.resume();
        self.plan.record.answers(answer.status);
        let is_last = self.drain.has_begun();
        let may_keep = answer.is_kept;
        let relayed = self.relay(answer, &mut upstream, received).await;
        if relayed == Relayed::Whole && may_keep {
            self.plan.endpoint.pool().put_plain(upstream);
        }
        Ok(if relayed == Relayed::Cut || is_last {
            Ending::Close
        } else {
            Ending::Next(self.plan.head_bytes)
        })
    }

    fn long_way(&mut self) -> Ending {
        self.plan.record.forget();
        Ending::LongWay
    }

    async fn dial(&self) -> Option<TcpStream> {
        let limit = QUICK_DIAL.min(self.proxy.bounds.connect_timeout);
        self.plan.endpoint.pool().dial_plain(limit).await
    }

    /// Sends the request and awaits the head of the final answer. What came behind it stays in `received`.
    async fn answer(
        &mut self,
        upstream: &mut TcpStream,
        received: &mut Option<Buffer>,
    ) -> Result<AnswerHead, NoAnswer> {
        if write_all(upstream, &self.plan.outgoing).await.is_err() {
            return Err(NoAnswer::Closed);
        }
        self.watch.arm(self.proxy.bounds.response_timeout);
        loop {
            let arrived = poll_fn(|cx| {
                match poll_fill(upstream, received, cx) {
                    Poll::Ready(arrived) => return Poll::Ready(Ok(arrived)),
                    Poll::Pending => {}
                }
                if self.client_has_left(cx) {
                    return Poll::Ready(Err(NoAnswer::ClientLeft));
                }
                self.watch.poll(cx).map(|()| Err(NoAnswer::Silent))
            });
            let arrived = arrived.await?;
            let Some(bytes) = received
                .as_mut()
                .filter(|_| arrived.is_ok_and(|count| count > 0))
            else {
                return Err(if received.is_none() {
                    NoAnswer::Closed
                } else {
                    NoAnswer::Broken
                });
            };
            loop {
                let manner = Manner {
                    request_id: &self.plan.request_id,
                    is_head_only: self.plan.is_head_only,
                    is_last: self.drain.has_begun(),
                };
                match head(bytes, manner).map_err(|_| NoAnswer::Broken)? {
                    Head::Final(answer) => {
                        Buffer::consume(received, answer.bytes);
                        return Ok(answer);
                    }
                    Head::Interim(head) => {
                        bytes.copy_within(head.., 0);
                        let left = bytes.len() - head;
                        bytes.truncate(left);
                    }
                    Head::Incomplete if bytes.len() >= MAX_ANSWER_HEAD_BYTES => {
                        return Err(NoAnswer::Broken);
                    }
                    Head::Incomplete => {
                        if bytes.is_full() {
                            let more = bytes.len();
                            bytes.reserve(more);
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Passes the answer on.
    async fn relay(
        &mut self,
        answer: AnswerHead,
        upstream: &mut TcpStream,
        mut received: Option<Buffer>,
    ) -> Relayed {
        let mut whole = Relayed::Whole;
        let AnswerHead {
            mut framing,
            mut outgoing,
            ..
        } = answer;
        loop {
            if let Some(bytes) = received.take() {
                let Ok(taken) = framing.take(&bytes) else {
                    return Relayed::Cut;
                };
                if taken < bytes.len() {
                    whole = Relayed::WithMoreBehind;
                }
                self.plan.record.bytes_out += taken as u64;
                if framing == Framing::UntilClose {
                    put_chunk(&mut outgoing, &bytes);
                } else if outgoing.is_empty() && taken == bytes.len() {
                    outgoing = bytes;
                } else {
                    outgoing.put_slice(&bytes[..taken]);
                }
            }
            if !outgoing.is_empty() && write_all(self.stream, &outgoing).await.is_err() {
                return Relayed::Cut;
            }
            if framing.is_complete() {
                return whole;
            }
            outgoing.clear();
            match self.piece(upstream, &mut received).await {
                Ok(Piece::Data) => {}
                Ok(Piece::End) if framing == Framing::UntilClose => {
                    return match write_all(self.stream, b"0\r\n\r\n").await {
                        Ok(()) => whole,
                        Err(_) => Relayed::Cut,
                    };
                }
                Ok(Piece::End | Piece::ClientLeft) | Err(_) => return Relayed::Cut,
            }
        }
    }

    async fn piece(
        &mut self,
        upstream: &mut TcpStream,
        received: &mut Option<Buffer>,
    ) -> io::Result<Piece> {
        poll_fn(|cx| match poll_fill(upstream, received, cx) {
            Poll::Ready(read) => {
                Poll::Ready(read.map(|bytes| if bytes == 0 { Piece::End } else { Piece::Data }))
            }
            Poll::Pending if self.client_has_left(cx) => Poll::Ready(Ok(Piece::ClientLeft)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Reads on what the client sends, as far as there is room for it.
    fn client_has_left(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.input.as_ref().is_some_and(|input| input.is_full()) {
            match poll_fill(self.stream, self.input, cx) {
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return false,
            }
        }
        false
    }
}

fn put_chunk(into: &mut Buffer, data: &[u8]) {
    use std::fmt::Write as _;
    into.reserve(data.len() + 32);
    // A buffer in memory takes everything.
    let _ = write!(into, "{:x}\r\n", data.len());
    into.put_slice(data);
    into.put_slice(b"\r\n");
}
