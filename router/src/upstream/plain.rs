//! Bare connections to instances, for requests on the short way.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

use super::{Address, Pool, keep, lock};
use crate::liveness::watch_instance;

impl Pool {
    /// The most recently used connection whose other side has neither closed it nor said something unasked.
    pub(crate) async fn take_plain(&self) -> Option<TcpStream> {
        poll_fn(|cx| {
            loop {
                let newest = lock(&self.plain).pop();
                let Some(mut idle) = newest else {
                    return Poll::Ready(None);
                };
                let mut byte = [0];
                let mut unasked = ReadBuf::new(&mut byte);
                if Pin::new(&mut idle.link)
                    .poll_read(cx, &mut unasked)
                    .is_pending()
                {
                    return Poll::Ready(Some(idle.link));
                }
            }
        })
        .await
    }

    pub(crate) fn put_plain(self: &Arc<Self>, stream: TcpStream) {
        keep(&self.plain, stream);
        self.idlers.list(self);
    }

    /// A new connection; `None` where none comes about in time.
    pub(crate) async fn dial_plain(&self, limit: Duration) -> Option<TcpStream> {
        let Address::Tcp(address) = &self.address else {
            return None;
        };
        let stream = tokio::time::timeout(limit, TcpStream::connect(address))
            .await
            .ok()?
            .ok()?;
        stream.set_nodelay(true).ok()?;
        watch_instance(&stream).ok()?;
        Some(stream)
    }
}
