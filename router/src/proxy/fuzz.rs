//! See [`crate::fuzz`].

use http::Request;
use model::protocol::router::RouteTable;

pub(crate) use super::plain::fuzz::{answer, body};
use super::request_filter;
use crate::fuzz::Fate;
use crate::table::{Destination, SharedTable, Table};
use crate::upstream::Idlers;

pub(crate) fn route(mut request: Request<()>, table: RouteTable) -> Fate {
    let shared = SharedTable::new(Table::awaited(&table.control_hosts, Idlers::default()));
    shared.replace(table);
    let found = request_filter::normalise(&mut request).and_then(|()| {
        let authority = request_filter::authority(&request)?;
        request_filter::choice(request.headers())?;
        Ok(shared.read().find(&authority.host, request.uri().path()))
    });
    match found {
        Err(_) => Fate::Refused,
        Ok(Destination::Control) => Fate::Control,
        Ok(Destination::Unknown | Destination::NoTable) => Fate::Unknown,
        Ok(Destination::App(route)) => {
            Fate::Route(route.key().host.clone(), route.key().path.clone())
        }
    }
}
