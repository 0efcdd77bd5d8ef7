//! One HTTP/1.1 connection to an instance or the server, driven in the task that waits for it: no task to spawn, to own or
//! to switch to for each connection, and a dropped request closes its connection at once.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::stream::Stream;

/// Of an answer's head, and of each direction's data on its way.
const MAX_BUFFER_BYTES: usize = 128 * 1024;

/// hyper's future that moves the bytes of one connection; its type cannot be named.
type Connection = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// A request that got no answer.
#[derive(Debug)]
pub(crate) struct Unsent {
    /// The request itself, where not one byte of it left this process.
    pub(crate) request: Option<Request<RequestBody>>,
    pub(crate) error: hyper::Error,
}

pub(crate) struct Link {
    sender: SendRequest<RequestBody>,
    connection: Connection,
    is_over: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

impl Link {
    pub(super) async fn over(stream: TokioIo<Stream>) -> Result<Self, hyper::Error> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER_BYTES)
            .handshake(stream)
            .await?;
        Ok(Self {
            sender,
            connection: Box::pin(connection.with_upgrades()),
            is_over: false,
        })
    }

    /// Sends a request and waits for the head of its answer. The request's body goes on being sent while the answer's body
    /// is read with [`Link::poll_body`].
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Unsent> {
        let mut response = pin!(self.sender.try_send_request(request));
        let answer = poll_fn(|cx| {
            self.drive(cx);
            response.as_mut().poll(cx)
        });
        answer.await.map_err(|mut failed| Unsent {
            request: failed.take_message(),
            error: failed.into_error(),
        })
    }

    pub(crate) fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.drive(cx);
        Pin::new(body).poll_frame(cx)
    }

    /// Runs the connection to its end, which after an answer 101 is where its bytes are handed over.
    pub(crate) async fn finish(&mut self) {
        poll_fn(|cx| {
            self.drive(cx);
            if self.is_over {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Whether another request can be sent: the last exchange is complete and the other side has not closed.
    pub(crate) fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        !self.is_over && self.sender.is_ready()
    }

    /// [`Link::is_ready`] outside a task.
    pub(crate) fn is_ready_now(&mut self) -> bool {
        self.is_ready(&mut Context::from_waker(Waker::noop()))
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        // An error also reaches whoever waits for the answer or its body.
        if !self.is_over && self.connection.as_mut().poll(cx).is_ready() {
            self.is_over = true;
        }
    }
}

/// A request's body on its way, with a count of its bytes where there are any.
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Option<Incoming>,
    sent: Option<Arc<AtomicU64>>,
}

impl RequestBody {
    pub(crate) const fn empty() -> Self {
        Self {
            incoming: None,
            sent: None,
        }
    }

    pub(crate) fn streaming(incoming: Incoming, sent: Arc<AtomicU64>) -> Self {
        Self {
            incoming: Some(incoming),
            sent: Some(sent),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.incoming.is_none()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(incoming).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(sent)) = (&polled, &self.sent)
            && let Some(data) = frame.data_ref()
        {
            sent.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
