//! One line for each request, in gorouter's format, as a tracing event with the target `access`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, Version};

use super::body::ResponseBody;
use super::client::Client;
use super::headers::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::table::Endpoint;

/// What is known of a request so far; written when dropped, so that no request lacks its line.
#[derive(Debug)]
pub(crate) struct AccessRecord {
    pub(crate) router_error: &'static str,
    pub(crate) bytes_out: u64,
    /// Absent where nobody listens, so that an unread log costs nothing.
    details: Option<Box<Details>>,
}

#[derive(Debug)]
struct Details {
    begun: Instant,
    begun_at: jiff::Timestamp,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    forwarded_for: Option<HeaderValue>,
    forwarded_proto: Option<HeaderValue>,
    peer: std::net::SocketAddr,
    request_id: HeaderValue,
    is_control: bool,
    endpoint: Option<Arc<Endpoint>>,
    failed_attempts: u32,
    bytes_in: Option<Arc<AtomicU64>>,
    /// Time spent waiting for the upstream.
    upstream_time: Duration,
    /// Absent where the client left before the answer.
    status: Option<u16>,
}

/// What nginx and gorouter log for a client that left.
const CLIENT_LEFT: u16 = 499;

impl AccessRecord {
    pub(crate) fn begin<B>(
        request: &Request<B>,
        client: &Client,
        request_id: &HeaderValue,
    ) -> Self {
        let headers = request.headers();
        let line = || {
            (
                request.method().clone(),
                request.uri().clone(),
                request.version(),
            )
        };
        Self::of(line, |name| headers.get(name).cloned(), client, request_id)
    }

    /// The same for a request on the short way.
    pub(crate) fn begin_plain(
        method: &Method,
        target: &str,
        headers: &[httparse::Header<'_>],
        client: &Client,
        request_id: &HeaderValue,
    ) -> Self {
        let header = |name: HeaderName| {
            let mut same = headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name.as_str()));
            HeaderValue::from_bytes(same.next()?.value).ok()
        };
        let line = || {
            let uri = target.parse().unwrap_or_default();
            (method.clone(), uri, Version::HTTP_11)
        };
        Self::of(line, header, client, request_id)
    }

    /// Asks for the request's line and headers only where somebody reads the log.
    fn of(
        line: impl FnOnce() -> (Method, Uri, Version),
        header: impl Fn(HeaderName) -> Option<HeaderValue>,
        client: &Client,
        request_id: &HeaderValue,
    ) -> Self {
        let is_read = tracing::enabled!(target: "access", tracing::Level::INFO);
        let details = is_read.then(|| {
            let (method, uri, version) = line();
            Box::new(Details {
                begun: Instant::now(),
                begun_at: jiff::Timestamp::now(),
                method,
                uri,
                version,
                host: header(HOST),
                referer: header(REFERER),
                user_agent: header(USER_AGENT),
                forwarded_for: header(X_FORWARDED_FOR),
                forwarded_proto: header(X_FORWARDED_PROTO),
                peer: client.peer,
                request_id: request_id.clone(),
                is_control: false,
                endpoint: None,
                failed_attempts: 0,
                bytes_in: None,
                upstream_time: Duration::ZERO,
                status: None,
            })
        });
        Self {
            router_error: "",
            bytes_out: 0,
            details,
        }
    }

    pub(crate) fn answers(&mut self, status: u16) {
        if let Some(details) = &mut self.details {
            details.status = Some(status);
        }
    }

    /// Another record of the same request begins.
    pub(crate) fn forget(&mut self) {
        self.details = None;
    }

    /// The server's requests can carry codes in their query, so only their path is logged.
    pub(crate) fn is_for_control(&mut self) {
        if let Some(details) = &mut self.details {
            details.is_control = true;
        }
    }

    pub(crate) fn counts_body(&mut self, sent: Option<&Arc<AtomicU64>>) {
        if let Some(details) = &mut self.details {
            details.bytes_in = sent.cloned();
        }
    }

    pub(crate) fn tries(&mut self, endpoint: &Arc<Endpoint>) {
        if let Some(details) = &mut self.details {
            details.endpoint = Some(Arc::clone(endpoint));
        }
    }

    pub(crate) fn attempt_failed(&mut self) {
        if let Some(details) = &mut self.details {
            details.failed_attempts += 1;
        }
    }

    pub(crate) fn waited(&mut self, since: Instant) {
        if let Some(details) = &mut self.details {
            details.upstream_time += since.elapsed();
        }
    }

    /// Hands the record to the answer's body, with whose end it is written.
    pub(crate) fn attach(mut self, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
        if let Some(details) = &mut self.details {
            details.status = Some(response.status().as_u16());
            response.body_mut().log_with(self);
        }
        response
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        if self.details.is_some() {
            tracing::info!(target: "access", "{self}");
        }
    }
}

/// A client's text between quotes, without any means to leave them.
struct Quoted<'a>(Option<&'a HeaderValue>);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "\"{}\"", value.as_bytes().escape_ascii()),
            None => f.write_str("\"-\""),
        }
    }
}

impl fmt::Display for AccessRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(details) = &self.details else {
            return Ok(());
        };
        match &details.host {
            Some(host) => write!(f, "{}", host.as_bytes().escape_ascii())?,
            None => f.write_str("-")?,
        }
        write!(f, " - [{:.9}] \"{} ", details.begun_at, details.method)?;
        if details.is_control {
            write!(f, "{}", details.uri.path().as_bytes().escape_ascii())?;
        } else {
            let target = details
                .uri
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str);
            write!(f, "{}", target.as_bytes().escape_ascii())?;
        }
        let bytes_in = details
            .bytes_in
            .as_ref()
            .map_or(0, |sent| sent.load(Ordering::Relaxed));
        let status = details.status.unwrap_or(CLIENT_LEFT);
        write!(
            f,
            " {:?}\" {status} {bytes_in} {}",
            details.version, self.bytes_out
        )?;
        write!(
            f,
            " {} {}",
            Quoted(details.referer.as_ref()),
            Quoted(details.user_agent.as_ref())
        )?;
        write!(f, " \"{}\"", details.peer)?;
        match (&details.endpoint, details.is_control) {
            (Some(endpoint), _) => write!(f, " \"{}\"", endpoint.spec().address)?,
            (None, true) => f.write_str(" \"control\"")?,
            (None, false) => f.write_str(" \"-\"")?,
        }
        write!(
            f,
            " x_forwarded_for:{}",
            Quoted(details.forwarded_for.as_ref())
        )?;
        write!(
            f,
            " x_forwarded_proto:{}",
            Quoted(details.forwarded_proto.as_ref())
        )?;
        write!(f, " vcap_request_id:{}", Quoted(Some(&details.request_id)))?;
        let whole = details.begun.elapsed();
        write!(f, " response_time:{:.6}", whole.as_secs_f64())?;
        write!(
            f,
            " gorouter_time:{:.6}",
            whole.saturating_sub(details.upstream_time).as_secs_f64()
        )?;
        if let Some(endpoint) = &details.endpoint {
            let spec = endpoint.spec();
            write!(
                f,
                " app_id:\"{}\" app_index:\"{}\" instance_id:\"{}\"",
                spec.app, spec.index, spec.instance
            )?;
        } else {
            f.write_str(" app_id:\"-\" app_index:\"-\" instance_id:\"-\"")?;
        }
        if details.failed_attempts > 0 {
            write!(f, " failed_attempts:{}", details.failed_attempts)?;
        }
        let error = if self.router_error.is_empty() {
            "-"
        } else {
            self.router_error
        };
        write!(f, " x_cf_routererror:\"{error}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_gorouters_form_and_a_client_cannot_forge_another() {
        let details = |is_control| Details {
            begun: Instant::now(),
            begun_at: jiff::Timestamp::UNIX_EPOCH,
            method: Method::GET,
            uri: Uri::from_static("/x?code=1"),
            version: Version::HTTP_11,
            host: Some(HeaderValue::from_static("a.test")),
            referer: None,
            user_agent: Some(
                HeaderValue::from_bytes(b"curl\" 200 \xff\t").expect("a header value"),
            ),
            forwarded_for: None,
            forwarded_proto: None,
            peer: "127.0.0.1:5".parse().expect("an address"),
            request_id: HeaderValue::from_static("id"),
            is_control,
            endpoint: None,
            failed_attempts: 2,
            bytes_in: None,
            upstream_time: Duration::ZERO,
            status: None,
        };
        let shown = |is_control| {
            let details = Some(Box::new(details(is_control)));
            AccessRecord {
                router_error: "endpoint_failure",
                bytes_out: 7,
                details,
            }
            .to_string()
        };
        let line = shown(false);
        let begin = r#"a.test - [1970-01-01T00:00:00.000000000Z] "GET /x?code=1 HTTP/1.1" 499 0 7 "-" "curl\" 200 \xff\t" "127.0.0.1:5" "-" "#;
        assert!(line.starts_with(begin), "{line}");
        let end = r#"app_id:"-" app_index:"-" instance_id:"-" failed_attempts:2 x_cf_routererror:"endpoint_failure""#;
        assert!(line.ends_with(end), "{line}");
        assert!(
            shown(true).contains(r#""GET /x HTTP/1.1""#),
            "queries to the server stay out"
        );
    }
}
