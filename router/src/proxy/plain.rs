//! The short way of a plain request: no body, no upgrade, nothing about its connection, for a known route with an instance
//! that accepts connections.
//!
//! Most requests are so. Their heads are copied from the client's bytes to the instance's in one pass, and answers the
//! same way, without a map of headers in between; a connection costs no memory while it waits. Whatever else a client
//! sends goes the long way: [`Proxy::serve_plain`] ends, before a byte of it has gone anywhere, with the bytes it has
//! read, and the connection is served by hyper from there. So each rule of the platform has one place that decides, the
//! phases in [`super::Proxy::serve`]; here are only requests to which those rules have nothing to say.

mod answer;
mod buffer;
mod framing;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod plan;
mod relay;
mod watch;

use std::sync::Arc;

use tokio::net::TcpStream;

use super::Proxy;
use super::client::Client;
use super::failure::Failure;
use crate::front::Drain;
use buffer::{Buffer, poll_fill, write_all};
use plan::Plan;
use relay::{Ending, Exchange};
use watch::Watch;

/// How a client's connection leaves the short way.
#[derive(Debug)]
pub(crate) enum Leaves {
    Closed,
    /// The rest is for the long way, beginning with these bytes.
    With(Vec<u8>),
}

impl Proxy {
    /// Serves requests for as long as they are plain.
    pub(crate) async fn serve_plain(
        &self,
        client: &Arc<Client>,
        stream: &mut TcpStream,
        drain: &Drain,
    ) -> Leaves {
        let mut input: Option<Buffer> = None;
        let mut watch = Watch::new(self.bounds.header_timeout);
        loop {
            watch.arm(self.bounds.header_timeout);
            if !has_request(stream, &mut input, &mut watch, drain).await {
                return Leaves::Closed;
            }
            let Some(head) = input.as_ref() else {
                return Leaves::Closed;
            };
            let Some(plan) = self.plan(client, head) else {
                return Leaves::With(head.to_vec());
            };
            match self
                .carry_out(plan, stream, &mut input, &mut watch, drain)
                .await
            {
                Ending::Next(consumed) => Buffer::consume(&mut input, consumed),
                Ending::Close => return Leaves::Closed,
                Ending::LongWay => {
                    return Leaves::With(
                        input.as_ref().map_or_else(Vec::new, |input| input.to_vec()),
                    );
                }
            }
        }
    }

    async fn carry_out(
        &self,
        plan: Plan,
        stream: &mut TcpStream,
        input: &mut Option<Buffer>,
        watch: &mut Watch,
        drain: &Drain,
    ) -> Ending {
        let is_head_only = plan.is_head_only;
        let request_id = plan.request_id.clone();
        let consumed = plan.head_bytes;
        let mut exchange = Exchange {
            proxy: self,
            plan,
            stream,
            input,
            watch,
            drain,
        };
        let failure = match exchange.run().await {
            Ok(ending) => return ending,
            Err(failure) => failure,
        };
        let mut record = exchange.plan.record;
        let answer = Failure::into_bytes(failure, &mut record, &request_id, is_head_only);
        match write_all(stream, &answer).await {
            Ok(()) => Ending::Next(consumed),
            Err(_) => Ending::Close,
        }
    }
}

/// Waits for the first bytes of a request. Without any until the deadline, or the drain, there is none.
async fn has_request(
    stream: &mut TcpStream,
    input: &mut Option<Buffer>,
    watch: &mut Watch,
    drain: &Drain,
) -> bool {
    use std::task::Poll;
    if input.is_some() {
        return true;
    }
    std::future::poll_fn(|cx| match poll_fill(stream, input, cx) {
        Poll::Ready(read) => Poll::Ready(read.is_ok_and(|bytes| bytes > 0)),
        Poll::Pending if drain.has_begun() => Poll::Ready(false),
        Poll::Pending => watch.poll(cx).map(|()| false),
    })
    .await
}
