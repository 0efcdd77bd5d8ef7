//! Doors to the first phases of a request, for the fuzz targets.

use http::Request;
use model::protocol::router::RouteTable;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    Refused,
    Control,
    Unknown,
    /// The route's host and path.
    Route(String, String),
}

/// Takes a request through filter and look-up.
pub fn route(request: Request<()>, table: RouteTable) -> Fate {
    crate::proxy::fuzz::route(request, table)
}
