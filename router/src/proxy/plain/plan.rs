//! From the bytes of a request's head to the bytes that its instance gets.

use std::fmt::Write as _;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderValue, Method};

use super::buffer::Buffer;
use crate::proxy::Proxy;
use crate::proxy::access_log::AccessRecord;
use crate::proxy::client::Client;
use crate::proxy::headers::MAX_REQUEST_ID_BYTES;
use crate::proxy::request_filter::parse_authority;
use crate::request_id;
use crate::table::{Choice, Destination, Endpoint};

/// Heads with more go the long way.
const MAX_HEADERS: usize = 64;

/// A plain request, ready to be sent.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) outgoing: Buffer,
    /// How many of the client's bytes were the request.
    pub(super) head_bytes: usize,
    /// Whether the answer to it has no body whatever its head says.
    pub(super) is_head_only: bool,
    pub(super) request_id: HeaderValue,
    pub(super) record: AccessRecord,
}

/// What the platform has to say to a header of a request.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Passes,
    /// The router sets it itself.
    Dropped,
    Host,
    RequestId,
    Connection,
    /// Not plain.
    Special,
}

impl Proxy {
    /// `None` for everything that is not plain or does not go to a healthy instance.
    pub(super) fn plan(&self, client: &Client, input: &[u8]) -> Option<Plan> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request
            .parse_with_uninit_headers(input, &mut headers)
            .ok()?;
        let httparse::Status::Complete(head_bytes) = parsed else {
            return None;
        };
        let method = match request.method? {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            "OPTIONS" => Method::OPTIONS,
            _ => return None,
        };
        let target = request.path?;
        if request.version? != 1
            || !target.starts_with('/')
            || !target.bytes().all(is_plain_in_target)
        {
            return None;
        }

        let mut outgoing = Buffer::empty();
        if head_bytes > outgoing.capacity() / 2 {
            return None;
        }
        for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            outgoing.put_slice(part.as_bytes());
        }
        let (mut host, mut has_request_id) = (None, false);
        for header in &*request.headers {
            match kind(header.name, client.is_trusted) {
                Kind::Passes => put(&mut outgoing, header.name.as_bytes(), header.value),
                Kind::Dropped => {}
                Kind::Host if host.is_none() => {
                    host = Some(std::str::from_utf8(header.value).ok()?);
                    put(&mut outgoing, b"host", header.value);
                }
                Kind::RequestId if !has_request_id => {
                    has_request_id = is_request_id(header.value);
                    if has_request_id {
                        put(&mut outgoing, header.name.as_bytes(), header.value);
                    }
                }
                Kind::Connection if header.value.eq_ignore_ascii_case(b"keep-alive") => {}
                Kind::Host | Kind::RequestId | Kind::Connection | Kind::Special => return None,
            }
        }
        let host = host?;
        let authority = parse_authority(host)?;
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let found = self.table.read().find(&authority.host, path);
        let Destination::App(route) = found else {
            return None;
        };
        let endpoint = route.pick(Choice::Any, &[])?;
        if endpoint.is_paused() {
            return None;
        }

        let request_id = request_id::new();
        put(
            &mut outgoing,
            b"x-forwarded-for",
            client.ip_header.as_bytes(),
        );
        put(&mut outgoing, b"x-forwarded-proto", b"http");
        put(&mut outgoing, b"x-forwarded-host", host.as_bytes());
        put_number(
            &mut outgoing,
            "x-forwarded-port",
            authority.port.map_or(80, u128::from),
        );
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        put_number(&mut outgoing, "x-request-start", now.as_millis());
        if !has_request_id {
            put(&mut outgoing, b"x-request-id", request_id.as_bytes());
        }
        put(&mut outgoing, b"x-vcap-request-id", request_id.as_bytes());
        put(
            &mut outgoing,
            b"x-cf-applicationid",
            endpoint.app_header.as_bytes(),
        );
        put(
            &mut outgoing,
            b"x-cf-instanceid",
            endpoint.instance_header.as_bytes(),
        );
        put(
            &mut outgoing,
            b"x-cf-instanceindex",
            endpoint.index_header.as_bytes(),
        );
        outgoing.put_slice(b"\r\n");

        let mut record =
            AccessRecord::begin_plain(&method, target, request.headers, client, &request_id);
        record.tries(endpoint);
        Some(Plan {
            endpoint: Arc::clone(endpoint),
            outgoing,
            head_bytes,
            is_head_only: method == Method::HEAD,
            request_id,
            record,
        })
    }
}

/// The same rules as in `headers.rs`; where those would have to look at a value, the header is special.
fn kind(name: &str, is_trusted: bool) -> Kind {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    let begins = |known: &str| {
        name.get(..known.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(known))
    };
    let forwarded = if is_trusted {
        Kind::Special
    } else {
        Kind::Dropped
    };
    match name.as_bytes().first().map(u8::to_ascii_lowercase) {
        _ if name.contains('_') => Kind::Special,
        Some(b'h') if is("host") => Kind::Host,
        Some(b'c') if is("connection") => Kind::Connection,
        Some(b'c') if is("content-length") => Kind::Special,
        Some(b'e') if is("expect") => Kind::Special,
        Some(b'f') if is("forwarded") => forwarded,
        Some(b'k') if is("keep-alive") => Kind::Dropped,
        Some(b'p') if begins("proxy-") => Kind::Special,
        Some(b't') if is("te") || is("transfer-encoding") || is("trailer") => Kind::Special,
        Some(b'u') if is("upgrade") => Kind::Special,
        Some(b'x') if begins("x-forwarded-") => forwarded,
        Some(b'x') if is("x-cf-app-instance") || is("x-cf-process-instance") => Kind::Special,
        Some(b'x')
            if is("x-cf-applicationid") || is("x-cf-instanceid") || is("x-cf-instanceindex") =>
        {
            Kind::Dropped
        }
        Some(b'x') if is("x-request-id") => Kind::RequestId,
        Some(b'x') if is("x-request-start") => forwarded,
        Some(b'x') if is("x-vcap-request-id") || is("x-slipway-client") => Kind::Dropped,
        _ => Kind::Passes,
    }
}

/// What has one meaning in every part of a target; the long way judges the rest.
fn is_plain_in_target(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%?".contains(&byte)
}

fn is_request_id(value: &[u8]) -> bool {
    let is_visible = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    value.len() <= MAX_REQUEST_ID_BYTES && value.iter().all(is_visible)
}

pub(super) fn put(into: &mut BytesMut, name: &[u8], value: &[u8]) {
    into.reserve(name.len() + value.len() + 4);
    into.put_slice(name);
    into.put_slice(b": ");
    into.put_slice(value);
    into.put_slice(b"\r\n");
}

fn put_number(into: &mut BytesMut, name: &str, value: u128) {
    // A buffer in memory takes everything.
    let _ = write!(into, "{name}: {value}\r\n");
}
