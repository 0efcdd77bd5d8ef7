//! An upgraded connection: from the answer 101 on, bytes pass both ways until one side ends.

use hyper::Response;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;

use super::Proxy;
use super::client::Client;
use crate::upstream::Link;

impl Proxy {
    /// Starts the tunnel that the 101 in `response` opens.
    pub(crate) fn open_tunnel(
        &self,
        client: &Arc<Client>,
        client_side: OnUpgrade,
        response: &mut Response<Incoming>,
        mut link: Link,
    ) {
        let upstream_side = hyper::upgrade::on(response);
        let cut = self.cut.clone();
        // Holds the client's place among the connections for as long as the tunnel lasts.
        let client = Arc::clone(client);
        let pass = async move {
            link.finish().await;
            let (client_side, upstream_side) = tokio::try_join!(client_side, upstream_side)?;
            let mut client_side = TokioIo::new(client_side);
            let mut upstream_side = TokioIo::new(upstream_side);
            tokio::io::copy_bidirectional(&mut client_side, &mut upstream_side).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        self.tunnels.spawn(async move {
            tokio::select! {
                passed = pass => {
                    if let Err(error) = passed {
                        tracing::debug!(peer = %client.peer, %error, "a tunnel broke off");
                    }
                }
                () = cut.cancelled() => {}
            }
        });
    }
}
