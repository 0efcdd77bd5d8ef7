//! A request's head as the HTTP parser hands it over: method, URI, then one `name: value` a line.

use http::{HeaderName, HeaderValue, Method, Request, Uri};
use model::protocol::router::{RouteEntry, RouteTable};
use model::route::RouteKey;
use router::fuzz::{Fate, route};

pub(crate) fn run(bytes: &[u8]) {
    let (line, mut rest) = super::split(bytes);
    let mut words = line.splitn(2, |byte| *byte == b' ');
    let (Some(Ok(method)), Some(Ok(uri))) = (
        words.next().map(Method::from_bytes),
        words.next().map(Uri::try_from),
    ) else {
        return;
    };
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    let mut hosts = Vec::new();
    while !rest.is_empty() {
        let (line, next) = super::split(rest);
        rest = next;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&line[..colon]),
            HeaderValue::from_bytes(line[colon + 1..].trim_ascii()),
        ) else {
            return;
        };
        if name == http::header::HOST {
            hosts.push(value.clone());
        }
        request.headers_mut().append(name, value);
    }
    let in_line = request.uri().authority().is_some();
    let fate = route(request, table());
    if hosts.len() > 1 {
        assert_eq!(fate, Fate::Refused, "two hosts have two meanings");
    }
    if let (false, Some(host)) = (in_line, hosts.first()) {
        let begins = host.to_str().unwrap_or_default().to_ascii_lowercase();
        // An unknown host never leads to the API.
        let is_control = begins.starts_with("api.test")
            || begins.starts_with(|c: char| c.is_ascii_digit() || c == '[');
        assert!(
            fate != Fate::Control || is_control,
            "{host:?} leads to the API"
        );
    }
}

fn table() -> RouteTable {
    let entry = |host: &str, path: &str| RouteEntry {
        key: RouteKey {
            host: host.into(),
            path: path.into(),
        },
        endpoints: vec![],
    };
    RouteTable {
        version: 1,
        control_hosts: vec!["api.test".into()],
        entries: vec![
            entry("a.test", ""),
            entry("a.test", "/b"),
            entry("*.test", ""),
            entry("*.c.test", "/d"),
        ],
    }
}
