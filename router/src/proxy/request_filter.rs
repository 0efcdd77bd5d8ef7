//! Which requests come in at all, and which host and instance they ask for.

use std::borrow::Cow;

use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

use super::failure::Failure;
use super::headers::{X_CF_APP_INSTANCE, X_CF_PROCESS_INSTANCE};
use crate::table::{Choice, canonical_host};

/// The longest name that DNS allows.
const MAX_HOST_BYTES: usize = 253;

/// The host that a request is for, ready for look-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    pub(crate) host: Cow<'a, str>,
    pub(crate) port: Option<u16>,
}

/// A chunked request may have had a Content-Length too, which the HTTP parser drops. Whoever stands before this router may
/// have believed that one, so what follows on the connection must not count as a request (RFC 9112, section 6.1).
pub(crate) fn must_close_after<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(TRANSFER_ENCODING)
}

/// Refuses what has two meanings, and gives every request the form `GET /path` with exactly one `Host`.
pub(crate) fn normalise<B>(request: &mut Request<B>) -> Result<(), Failure> {
    if request.method() == Method::CONNECT {
        return Err(Failure::method_not_allowed("CONNECT is not offered here"));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    if hosts.next().is_none() && request.version() > Version::HTTP_10 {
        return Err(Failure::bad_request(
            "empty_host",
            "the request has no Host header",
        ));
    }
    if hosts.next().is_some() {
        return Err(Failure::bad_request(
            "empty_host",
            "the request has more than one Host header",
        ));
    }
    let mut encodings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let is_chunked = encodings
        .next()
        .is_none_or(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !is_chunked || encodings.next().is_some() {
        return Err(Failure::bad_request(
            "invalid_request",
            "the only Transfer-Encoding understood here is 'chunked'",
        ));
    }
    let uri = request.uri();
    match (uri.scheme(), uri.authority()) {
        (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => {
            // The host in the request line stands above the header (RFC 9112, section 3.2.2).
            let host = HeaderValue::from_str(authority.as_str()).map_err(|_| {
                Failure::bad_request(
                    "invalid_host",
                    "the host in the request line is not a host name",
                )
            })?;
            let path = uri
                .path_and_query()
                .cloned()
                .unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
            request.headers_mut().insert(HOST, host);
            *request.uri_mut() = Uri::from(path);
            Ok(())
        }
        (None, None)
            if uri.path().starts_with('/')
                || uri.path() == "*" && request.method() == Method::OPTIONS =>
        {
            Ok(())
        }
        _ => Err(Failure::bad_request(
            "invalid_request",
            "the request line names no path that begins with '/'",
        )),
    }
}

/// The host and port of a normalised request.
pub(crate) fn authority<B>(request: &Request<B>) -> Result<Authority<'_>, Failure> {
    let invalid = || {
        Failure::bad_request(
            "invalid_host",
            "the Host header is not a host name with an optional port",
        )
    };
    let Some(value) = request.headers().get(HOST) else {
        return Err(Failure::bad_request(
            "empty_host",
            "the request has no Host header",
        ));
    };
    let text = value.to_str().map_err(|_| invalid())?;
    if text.is_empty() {
        return Err(Failure::bad_request(
            "empty_host",
            "the Host header is empty",
        ));
    }
    parse_authority(text).ok_or_else(invalid)
}

pub(crate) fn parse_authority(text: &str) -> Option<Authority<'_>> {
    let (host, port) = match text.rfind([':', ']']) {
        Some(at) if text.as_bytes()[at] == b':' => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_valid = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.bytes().all(is_name),
    };
    let port = match port {
        None | Some("") => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
    };
    let host = canonical_host(host);
    (is_valid && !host.is_empty() && host.len() <= MAX_HOST_BYTES)
        .then_some(Authority { host, port })
}

/// The instance that the request insists on.
pub(crate) fn choice(headers: &HeaderMap) -> Result<Choice, Failure> {
    if let Some(value) = headers.get(X_CF_APP_INSTANCE) {
        let parsed = value.to_str().ok().and_then(|text| {
            let (app, index) = text.split_once(':')?;
            Some(Choice::AppInstance(app.parse().ok()?, index.parse().ok()?))
        });
        return parsed.ok_or_else(|| {
            Failure::bad_request(
                "invalid_cf_app_instance_header",
                "X-CF-App-Instance must be <app guid>:<index>",
            )
        });
    }
    if let Some(value) = headers.get(X_CF_PROCESS_INSTANCE) {
        let parsed = value
            .to_str()
            .ok()
            .and_then(|text| match text.split_once(':') {
                Some((process, index)) => Some(Choice::ProcessInstance(
                    process.parse().ok()?,
                    Some(index.parse().ok()?),
                )),
                None => Some(Choice::ProcessInstance(text.parse().ok()?, None)),
            });
        return parsed.ok_or_else(|| {
            Failure::bad_request(
                "invalid_cf_process_instance_header",
                "X-CF-Process-Instance must be <process guid> or <process guid>:<index>",
            )
        });
    }
    Ok(Choice::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_case_port_and_trailing_dot() {
        let cases = [
            ("a.test", Some(("a.test", None))),
            ("A.Test.:8080", Some(("a.test", Some(8080)))),
            ("a.test:", Some(("a.test", None))),
            ("127.0.0.1:80", Some(("127.0.0.1", Some(80)))),
            ("[::1]:8080", Some(("[::1]", Some(8080)))),
            ("[::1]", Some(("[::1]", None))),
            ("under_score.test", Some(("under_score.test", None))),
            (":80", None),
            (".", None),
            ("::1", None),
            ("[a.test]", None),
            ("a.test:80:90", None),
            ("a.test:65536", None),
            ("a.test:+1", None),
            ("user@a.test", None),
            ("a.test/x", None),
            ("a b", None),
            ("a.test,b.test", None),
        ];
        for (text, expected) in cases {
            let parsed = parse_authority(text);
            let shown = parsed
                .as_ref()
                .map(|authority| (authority.host.as_ref(), authority.port));
            assert_eq!(shown, expected, "{text}");
        }
        assert_eq!(parse_authority(&"a".repeat(254)), None);
    }
}
