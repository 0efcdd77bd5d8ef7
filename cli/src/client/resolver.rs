//! Names → addresses.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;

use super::address;

/// Names under `localhost` are this host by RFC 6761, whatever the system's resolver thinks of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolver;

pub(super) type Addresses = std::vec::IntoIter<std::net::SocketAddr>;

impl tower::Service<Name> for Resolver {
    type Response = Addresses;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Addresses, std::io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move {
            let name = name.as_str();
            let addresses: Vec<_> = if address::is_localhost_name(name) {
                vec![
                    ([127, 0, 0, 1], 0).into(),
                    (std::net::Ipv6Addr::LOCALHOST, 0).into(),
                ]
            } else {
                tokio::net::lookup_host((name, 0)).await?.collect()
            };
            Ok(addresses.into_iter())
        })
    }
}
