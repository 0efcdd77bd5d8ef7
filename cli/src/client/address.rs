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
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        "https" => {
            let error = CliError::usage(format!(
                "{typed} needs TLS, which this build of the client does not have yet"
            ));
            return Err(error.hint(format!("http://{rest}, if the server answers there")));
        }
        _ => return Err(wrong("only http:// is known")),
    }
    if rest.contains('@') {
        return Err(wrong("user and password do not belong into it"));
    }
    let uri: http::Uri = format!("http://{rest}")
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
        "http://{}",
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
        let tls = normalize("https://api.example.com").expect_err("no TLS");
        assert!(tls.message.contains("TLS"), "{tls}");
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
