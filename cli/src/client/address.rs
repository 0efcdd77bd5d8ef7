//! The API's address, and the parts of addresses that the API answers with.

use std::net::IpAddr;

use crate::error::{CliError, Outcome};

/// An address as a person types it → scheme, host and port without a trailing slash. A bare host means `http://`.
pub(crate) fn normalize(typed: &str) -> Outcome<String> {
    let typed = typed.trim().trim_end_matches('/');
    let wrong = |why: &str| {
        CliError::usage(format!("'{typed}' is not an address of an API: {why}"))
            .hint("slipway api http://127.0.0.1:8080")
    };
    let (scheme, rest) = typed.split_once("://").unwrap_or(("http", typed));
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(wrong("only http:// and https:// are known"));
    }
    if rest.contains('@') {
        return Err(wrong("user and password do not belong into it"));
    }
    let uri: http::Uri = format!("{scheme}://{rest}")
        .parse()
        .map_err(|_| wrong("it cannot be read"))?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("it has a path"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
    if authority.host().is_empty() || authority.as_str().ends_with(':') {
        return Err(wrong("it has no host"));
    }
    Ok(format!(
        "{scheme}://{}",
        authority.as_str().to_ascii_lowercase()
    ))
}

/// Path and query of an address, absolute or not, starting with `/`.
pub(crate) fn path_of(address: &str) -> String {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
        None => address,
    };
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

/// Host and port of an address.
pub(crate) fn authority(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

pub(crate) fn is_https(address: &str) -> bool {
    address.starts_with("https://")
}

/// `href`, an address that the API at `api` answers with. Where that was reached by TLS nothing is sent without it, whatever a
/// server behind a proxy thinks of how it is reached.
pub(crate) fn as_secure_as(api: &str, href: &str) -> String {
    match href.strip_prefix("http://") {
        Some(_) if is_https(api) && host(href) == host(api) => {
            format!("{api}{}", path_of(href).trim_end_matches('/'))
        }
        Some(rest) if is_https(api) => format!("https://{rest}"),
        _ => href.to_owned(),
    }
}

/// Where people reach a route; apps answer where the API does. `route` has no scheme, but the port at which the server
/// listens, which behind a TLS proxy is not the one that clients see.
pub(crate) fn of_route(api: &str, route: &str) -> String {
    if !is_https(api) {
        return format!("http://{route}");
    }
    let port = authority(api).strip_prefix(host_part(api)).unwrap_or("");
    let path = route.find('/').map_or("", |start| &route[start..]);
    format!("https://{}{port}{path}", host_part(route))
}

/// The host of an address, with the brackets of IPv6.
fn host_part(address: &str) -> &str {
    let authority = authority(address);
    let end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    &authority[..end]
}

fn host(address: &str) -> &str {
    let authority = authority(address);
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

pub(crate) fn is_ip_literal(address: &str) -> bool {
    host(address).parse::<IpAddr>().is_ok()
}

pub(crate) fn is_localhost_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether the server, if there is one, runs on this host.
pub(crate) fn is_local(address: &str) -> bool {
    let host = host(address);
    is_localhost_name(host)
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_type_them() {
        for (typed, want) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("api.localhost:8080/", "http://api.localhost:8080"),
            (" HTTP://API.Example.com ", "http://api.example.com"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://API.example.com", "https://api.example.com"),
        ] {
            assert_eq!(normalize(typed).expect(typed), want);
        }
        for bad in [
            "",
            "http://",
            "ftp://x",
            "http://x/path",
            "http://x?q",
            "http://u:p@x",
            "a b",
        ] {
            assert_eq!(normalize(bad).expect_err(bad).exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn nothing_is_sent_without_tls_where_the_api_has_it() {
        let (plain, secure) = ("http://api.x:8080", "https://api.x:8443");
        for (api, href, want) in [
            (plain, "http://api.x/uaa", "http://api.x/uaa"),
            (plain, "https://api.x/uaa", "https://api.x/uaa"),
            (secure, "http://api.x:80", "https://api.x:8443"),
            (secure, "http://api.x/uaa", "https://api.x:8443/uaa"),
            (secure, "https://uaa.x", "https://uaa.x"),
            (secure, "http://uaa.x:80/a", "https://uaa.x:80/a"),
        ] {
            assert_eq!(as_secure_as(api, href), want, "{api} {href}");
        }
        for (api, route, want) in [
            (plain, "app.x:8080/a", "http://app.x:8080/a"),
            (secure, "app.x:8080/a", "https://app.x:8443/a"),
            ("https://api.x", "app.x:8080", "https://app.x"),
            ("https://[::1]:1", "app.x", "https://app.x:1"),
        ] {
            assert_eq!(of_route(api, route), want, "{api} {route}");
        }
    }

    #[test]
    fn only_path_and_query_of_an_answered_address_are_followed() {
        for (address, want) in [
            ("http://evil.example/v3/jobs/1?a=b", "/v3/jobs/1?a=b"),
            ("/v3/jobs/1", "/v3/jobs/1"),
            ("v3/apps", "/v3/apps"),
            ("http://host", "/"),
        ] {
            assert_eq!(path_of(address), want);
        }
    }
}
