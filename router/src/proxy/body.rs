//! The body of an answer on its way to the client. When it ends, the upstream connection goes back to its pool and the
//! access log gets its line.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::access_log::AccessRecord;
use crate::upstream::{Link, Pool};

#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    bytes: u64,
    record: Option<AccessRecord>,
}

#[derive(Debug)]
enum Source {
    Empty,
    Text(Option<Bytes>),
    Upstream(FromUpstream),
}

impl ResponseBody {
    pub(crate) const fn empty() -> Self {
        Self {
            source: Source::Empty,
            bytes: 0,
            record: None,
        }
    }

    pub(crate) fn text(text: String) -> Self {
        Self {
            source: Source::Text(Some(Bytes::from(text))),
            bytes: 0,
            record: None,
        }
    }

    pub(crate) fn upstream(incoming: Incoming, link: Link, pool: Arc<Pool>) -> Self {
        let from = FromUpstream {
            incoming,
            link: Some(link),
            pool,
            is_complete: false,
        };
        // Without a body the connection need not wait for the client.
        let source = if from.incoming.is_end_stream() {
            Source::Empty
        } else {
            Source::Upstream(from)
        };
        Self {
            source,
            bytes: 0,
            record: None,
        }
    }

    pub(crate) fn log_with(&mut self, record: AccessRecord) {
        self.record = Some(record);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Upstream(upstream) => upstream.poll(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.bytes += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Text(text) => text.is_none(),
            Source::Upstream(upstream) => upstream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Source::Upstream(upstream) => upstream.incoming.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(record) = &mut self.record {
            record.bytes_out = self.bytes;
        }
    }
}

#[derive(Debug)]
struct FromUpstream {
    incoming: Incoming,
    link: Option<Link>,
    pool: Arc<Pool>,
    is_complete: bool,
}

impl FromUpstream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(link) = &mut self.link else {
            return Poll::Ready(None);
        };
        let polled = link.poll_body(&mut self.incoming, cx);
        match &polled {
            Poll::Ready(None) => self.is_complete = true,
            Poll::Ready(Some(Err(_))) => self.link = None,
            _ => {}
        }
        polled
    }
}

impl Drop for FromUpstream {
    fn drop(&mut self) {
        // A connection in the middle of an exchange is closed instead, which is how an upstream learns that its client left.
        if (self.is_complete || self.incoming.is_end_stream())
            && let Some(mut link) = self.link.take()
            && link.is_ready_now()
        {
            self.pool.put(link);
        }
    }
}
