//! What happens to one request. The phases have Pingora's names and stand in [`Proxy::serve`] in their order.

mod access_log;
mod body;
mod client;
mod failure;
mod forward;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod headers;
mod plain;
mod request_filter;
mod tunnel;

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Bounds, Network};
use crate::request_id;
use crate::sync::ServerState;
use crate::table::{Choice, Destination, Route, SharedTable};
use crate::upstream::Pool;
use access_log::AccessRecord;
use body::ResponseBody;
pub(crate) use client::Client;
use failure::Failure;
use forward::Answer;
pub(crate) use plain::Leaves;
use request_filter::Authority;

pub(crate) struct Proxy {
    pub(crate) table: SharedTable,
    /// Connections to the server.
    pub(crate) control: Arc<Pool>,
    pub(crate) server: ServerState,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) bounds: Bounds,
    /// Owns the tasks of upgraded connections.
    pub(crate) tunnels: TaskTracker,
    /// Ends what a drain did not wait for.
    pub(crate) cut: CancellationToken,
}

/// Which upstream the request goes to.
pub(crate) enum Upstream {
    Control,
    App { route: Arc<Route>, choice: Choice },
}

impl Proxy {
    /// Serves one request; every failure is an answer.
    pub(crate) async fn serve(
        &self,
        client: &Arc<Client>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        client.begins(&request);
        let request_id = request_id::new();
        let mut record = AccessRecord::begin(&request, client, &request_id);
        let must_close = request_filter::must_close_after(&request);
        let answered = self.answer(client, request, &request_id, &mut record).await;
        let mut response = answered.unwrap_or_else(|failure| failure.into_response(&mut record));
        headers::finish_response(&mut response, request_id, must_close);
        // Logging, which happens when the body ends.
        Ok(record.attach(response))
    }

    async fn answer(
        &self,
        client: &Arc<Client>,
        mut request: Request<Incoming>,
        request_id: &HeaderValue,
        record: &mut AccessRecord,
    ) -> Result<Response<ResponseBody>, Failure> {
        // Request filter.
        request_filter::normalise(&mut request)?;
        let authority = request_filter::authority(&request)?;
        // Route lookup.
        let upstream = self.route_lookup(&request, &authority)?;
        // Upstream request filter.
        let port = authority.port;
        let mut outgoing = headers::upstream_request(request, client, port, request_id);
        // Upstream peer selection and forward, again where nothing was sent.
        let answer = match upstream {
            Upstream::Control => {
                let headers = outgoing.request.headers_mut();
                headers::name_client(headers, client, &self.trusted_proxies);
                self.forward_to_control(outgoing, record).await?
            }
            Upstream::App { route, choice } => {
                self.forward_to_app(&route, choice, outgoing, record)
                    .await?
            }
        };
        // Response filter.
        self.response_filter(client, answer)
    }

    fn route_lookup(
        &self,
        request: &Request<Incoming>,
        authority: &Authority<'_>,
    ) -> Result<Upstream, Failure> {
        let destination = self
            .table
            .read()
            .find(&authority.host, request.uri().path());
        match destination {
            Destination::Control => Ok(Upstream::Control),
            Destination::Unknown => Err(Failure::unknown_route(&authority.host)),
            Destination::NoTable => Err(Failure::no_table()),
            Destination::App(route) => {
                let choice = request_filter::choice(request.headers())?;
                if choice != Choice::Any && !route.has(choice) {
                    return Err(Failure::instance_absent(choice));
                }
                if route.endpoints().is_empty() {
                    return Err(Failure::no_endpoints(&authority.host));
                }
                Ok(Upstream::App { route, choice })
            }
        }
    }

    fn response_filter(
        &self,
        client: &Arc<Client>,
        answer: Answer,
    ) -> Result<Response<ResponseBody>, Failure> {
        let Answer {
            mut response,
            link,
            pool,
            upgrade,
        } = answer;
        let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        headers::filter_response(&mut response, is_upgrade);
        if is_upgrade {
            // Nobody asked: the app speaks something else than HTTP.
            let client_side = upgrade.ok_or_else(Failure::broken_answer)?;
            self.open_tunnel(client, client_side, &mut response, link);
            return Ok(response.map(|_| ResponseBody::empty()));
        }
        Ok(response.map(|incoming| ResponseBody::upstream(incoming, link, pool)))
    }
}
