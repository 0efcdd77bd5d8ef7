//! Who sent a request.

use std::net::SocketAddr;

use http::HeaderValue;
use tokio::sync::OwnedSemaphorePermit;

use crate::config::Network;

/// The other side of a front connection, which keeps one of the router's places for connections while anybody needs it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    /// A proxy of the operator: its `X-Forwarded-*` headers are believed.
    pub(crate) is_trusted: bool,
    pub(crate) ip_header: HeaderValue,
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
            _place: place,
        }
    }
}
