//! Which headers pass, which are replaced, and which end here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::client::Client;
use crate::config::Network;
use crate::table::Endpoint;
use crate::upstream::RequestBody;

pub(crate) const X_CF_ROUTER_ERROR: HeaderName = HeaderName::from_static("x-cf-routererror");
pub(crate) const X_CF_APP_INSTANCE: HeaderName = HeaderName::from_static("x-cf-app-instance");
pub(crate) const X_CF_PROCESS_INSTANCE: HeaderName =
    HeaderName::from_static("x-cf-process-instance");
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const X_VCAP_REQUEST_ID: HeaderName = HeaderName::from_static("x-vcap-request-id");
const X_CF_APPLICATION_ID: HeaderName = HeaderName::from_static("x-cf-applicationid");
const X_CF_INSTANCE_ID: HeaderName = HeaderName::from_static("x-cf-instanceid");
const X_CF_INSTANCE_INDEX: HeaderName = HeaderName::from_static("x-cf-instanceindex");
/// For the server alone: whose failed log-ins count together.
const X_SLIPWAY_CLIENT: HeaderName = HeaderName::from_static("x-slipway-client");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers that concern one connection and not the message (RFC 9110, section 7.6.1), but `Connection` itself.
const HOP_BY_HOP: [HeaderName; 8] = [
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    EXPECT,
];
pub(crate) const MAX_REQUEST_ID_BYTES: usize = 200;

/// A request on its way to an upstream.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) request: Request<RequestBody>,
    /// Bytes of the body that have left; none where there is no body.
    pub(crate) sent: Option<Arc<AtomicU64>>,
    /// The client's side of the upgrade that it asked for.
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// Makes of the client's request the one that all upstreams may get.
pub(crate) fn upstream_request(
    mut request: Request<Incoming>,
    client: &Client,
    port: Option<u16>,
    request_id: &HeaderValue,
) -> Outgoing {
    let upgrade_to = upgrade_wanted(&request);
    let upgrade = upgrade_to
        .is_some()
        .then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    let headers = &mut parts.headers;
    let takes_trailers = headers
        .get_all(TE)
        .iter()
        .any(|value| has_token(value, "trailers"));
    strip_hop_by_hop(headers);
    strip_forgeries(headers, client.is_trusted);
    if let Some(protocol) = upgrade_to {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol);
    } else if takes_trailers {
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    set_forwarded(headers, client, port);
    if !headers
        .get(X_REQUEST_ID)
        .is_some_and(|id| id.len() <= MAX_REQUEST_ID_BYTES && id.to_str().is_ok())
    {
        headers.insert(X_REQUEST_ID, request_id.clone());
    }
    headers.insert(X_VCAP_REQUEST_ID, request_id.clone());
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    if body.is_end_stream() {
        return Outgoing {
            request: Request::from_parts(parts, RequestBody::empty()),
            sent: None,
            upgrade,
        };
    }
    let sent = Arc::new(AtomicU64::new(0));
    let body = RequestBody::streaming(body, Arc::clone(&sent));
    Outgoing {
        request: Request::from_parts(parts, body),
        sent: Some(sent),
        upgrade,
    }
}

/// Tells an instance who it is.
pub(crate) fn name_endpoint(headers: &mut HeaderMap, endpoint: &Endpoint) {
    headers.insert(X_CF_APPLICATION_ID, endpoint.app_header.clone());
    headers.insert(X_CF_INSTANCE_ID, endpoint.instance_header.clone());
    headers.insert(X_CF_INSTANCE_INDEX, endpoint.index_header.clone());
}

/// Tells the server who asks: the last address on the way that is no proxy of the operator's. What stands before it in the
/// chain is hearsay.
pub(crate) fn name_client(headers: &mut HeaderMap, client: &Client, trusted_proxies: &[Network]) {
    let chain = headers.get(X_FORWARDED_FOR).map(HeaderValue::as_bytes);
    let mut hops = chain
        .unwrap_or_default()
        .rsplit(|byte| *byte == b',')
        .map_while(hop_address);
    let stranger = hops.find(|hop| !trusted_proxies.iter().any(|proxy| proxy.contains(*hop)));
    let name = stranger.and_then(|hop| HeaderValue::try_from(hop.to_string()).ok());
    let name = name.unwrap_or_else(|| client.ip_header.clone());
    headers.insert(X_SLIPWAY_CLIENT, name);
}

/// Some proxies add the port.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
    let address = hop.parse::<IpAddr>().or_else(|_| with_port()).ok()?;
    Some(address.to_canonical())
}

/// What of an upstream's answer reaches the client; `upgraded` for the answer 101.
pub(crate) fn filter_response<B>(response: &mut Response<B>, is_upgrade: bool) {
    let headers = response.headers_mut();
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let protocol = headers.get(UPGRADE).cloned();
    strip_hop_by_hop(headers);
    if is_upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(protocol) = protocol {
            headers.insert(UPGRADE, protocol);
        }
    }
    *response.version_mut() = Version::HTTP_11;
}

/// What every answer carries.
pub(crate) fn finish_response<B>(
    response: &mut Response<B>,
    request_id: HeaderValue,
    must_close: bool,
) {
    let headers = response.headers_mut();
    headers.insert(X_VCAP_REQUEST_ID, request_id);
    if must_close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The protocol that the client asks to change to. `h2c` is not passed on: what follows would escape the router's rules.
fn upgrade_wanted(request: &Request<Incoming>) -> Option<HeaderValue> {
    let headers = request.headers();
    let protocol = headers.get(UPGRADE)?;
    let is_asked = headers
        .get_all(CONNECTION)
        .iter()
        .any(|value| has_token(value, "upgrade"));
    let is_plain = request.version() == Version::HTTP_11 && request.body().is_end_stream();
    let is_one = headers.get_all(UPGRADE).iter().count() == 1;
    (is_asked && is_plain && is_one && !has_token(protocol, "h2c")).then(|| protocol.clone())
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    let mut tokens = value.as_bytes().split(|byte| matches!(byte, b',' | b';'));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // The message's own frame and address are never a matter of one connection.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH && *name != CONNECTION)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes what an app would take for the platform's word: names that only the router sets, also with the underscores that
/// CGI-like servers do not tell from hyphens, and, from anybody but a trusted proxy, all of `X-Forwarded-*`.
fn strip_forgeries(headers: &mut HeaderMap, is_trusted: bool) {
    let is_forged = |name: &HeaderName| {
        let name = name.as_str();
        if name.contains('_') {
            return is_platform_name(&name.replace('_', "-"));
        }
        if matches!(
            name,
            "x-cf-applicationid" | "x-cf-instanceid" | "x-cf-instanceindex" | "x-slipway-client"
        ) {
            return true;
        }
        !is_trusted && (name.starts_with("x-forwarded-") || name == FORWARDED.as_str())
    };
    if headers.keys().any(is_forged) {
        let forged: Vec<HeaderName> = headers
            .keys()
            .filter(|name| is_forged(name))
            .cloned()
            .collect();
        for name in forged {
            headers.remove(name);
        }
    }
}

fn is_platform_name(name: &str) -> bool {
    [
        "x-forwarded-",
        "x-cf-",
        "x-vcap-",
        "x-request-",
        "x-slipway-",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
        || name == FORWARDED.as_str()
}

fn set_forwarded(headers: &mut HeaderMap, client: &Client, port: Option<u16>) {
    let chain = match joined(headers, &X_FORWARDED_FOR) {
        Some(mut chain) => {
            chain.extend_from_slice(b", ");
            chain.extend_from_slice(client.ip_header.as_bytes());
            HeaderValue::from_bytes(&chain).unwrap_or_else(|_| client.ip_header.clone())
        }
        None => client.ip_header.clone(),
    };
    headers.insert(X_FORWARDED_FOR, chain);
    let is_https = headers
        .get(X_FORWARDED_PROTO)
        .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    headers.insert(
        X_FORWARDED_PROTO,
        HeaderValue::from_static(if is_https { "https" } else { "http" }),
    );
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if !headers.contains_key(X_FORWARDED_PORT) {
        let port = match port {
            Some(port) => HeaderValue::from(port),
            None => HeaderValue::from_static(if is_https { "443" } else { "80" }),
        };
        headers.insert(X_FORWARDED_PORT, port);
    }
    if !client.is_trusted || !headers.contains_key(X_REQUEST_START) {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        headers.insert(
            X_REQUEST_START,
            HeaderValue::from(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        );
    }
}

/// All values of a header as one list.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut values = headers.get_all(name).iter();
    let mut list = values.next()?.as_bytes().to_vec();
    for value in values {
        list.extend_from_slice(b", ");
        list.extend_from_slice(value.as_bytes());
    }
    Some(list)
}
