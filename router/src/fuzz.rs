//! Doors to the first phases of a request, and to the reading of answers, for the fuzz targets.

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

/// What the router makes of the head of an instance's answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Length of the head that was read, in bytes.
    pub bytes: usize,
    pub end: End,
    /// The head that the client gets.
    pub outgoing: Vec<u8>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    After(u64),
    Chunked,
    WithConnection,
}

/// Reads the head of a final answer. None where it is not complete, interim or malformed.
#[must_use]
pub fn answer(input: &[u8], is_head_only: bool) -> Option<Answer> {
    crate::proxy::fuzz::answer(input, is_head_only)
}

/// How many bytes belong to the body, if `input` comes in parts of `step` bytes. None where it does not end or is malformed.
#[must_use]
pub fn body(end: End, input: &[u8], step: usize) -> Option<usize> {
    crate::proxy::fuzz::body(end, input, step)
}
