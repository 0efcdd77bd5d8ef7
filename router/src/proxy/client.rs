//! Who sent a request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderValue, Request};
use http_body::Body;
use tokio::sync::OwnedSemaphorePermit;

use crate::config::Network;

/// The other side of a front connection, which keeps one of the router's places for connections while anybody needs it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// A proxy of the operator: its `X-Forwarded-*` headers are believed.
    pub(crate) is_trusted: bool,
    pub(crate) ip_header: HeaderValue,
    /// Whether the newest request came with a body.
    sent_a_body: AtomicBool,
    _place: OwnedSemaphorePermit,
}

impl Client {
    pub(crate) fn new(
        peer: SocketAddr,
        trusted_proxies: &[Network],
        place: OwnedSemaphorePermit,
    ) -> Self {
        let ip = peer.ip().to_canonical();
        Self {
            peer,
            is_trusted: trusted_proxies.iter().any(|network| network.contains(ip)),
            ip_header: HeaderValue::try_from(ip.to_string())
                .expect("an IP address is a header value"),
            sent_a_body: AtomicBool::new(false),
            _place: place,
        }
    }

    pub(crate) fn begins(&self, request: &Request<impl Body>) {
        self.sent_a_body
            .store(!request.body().is_end_stream(), Ordering::Relaxed);
    }

    pub(crate) fn sent_a_body(&self) -> bool {
        self.sent_a_body.load(Ordering::Relaxed)
    }
}
