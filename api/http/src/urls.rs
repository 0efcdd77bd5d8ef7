//! Absolute addresses in answers.

use std::net::{IpAddr, Ipv6Addr};

use api_control::Settings;
use api_types::{Link, Links};
use http::uri::Authority;
use http::{HeaderMap, header};

/// The origin that links of one answer begin with.
#[derive(Debug, Clone)]
pub(crate) struct Urls {
    base: String,
}

impl Urls {
    pub(crate) fn at(base: impl Into<String>) -> Self {
        Self { base: base.into() }
    }

    /// The origin that the client used, if it is one of ours; else the configured one. A forged `Host` never comes back.
    pub(crate) fn of_request(headers: &HeaderMap, settings: &Settings) -> Self {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let authority = host.and_then(|host| host.parse::<Authority>().ok());
        match authority.filter(|authority| is_ours(authority, settings)) {
            Some(authority) => {
                // The router sets this header anew for every request.
                let https = headers
                    .get("x-forwarded-proto")
                    .is_some_and(|proto| proto.as_bytes() == b"https");
                let scheme = if https { "https" } else { "http" };
                Self::at(format!(
                    "{scheme}://{}",
                    authority.as_str().to_ascii_lowercase()
                ))
            }
            None => Self::at(settings.external_url.trim_end_matches('/')),
        }
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// `path` begins with `/`.
    pub(crate) fn to(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn link(&self, path: &str) -> Link {
        Link::to(self.to(path))
    }

    /// Links by name.
    pub(crate) fn links<const N: usize>(&self, links: [(&str, String); N]) -> Links {
        links
            .into_iter()
            .map(|(name, path)| (name.to_owned(), self.link(&path)))
            .collect()
    }
}

fn is_ours(authority: &Authority, settings: &Settings) -> bool {
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host().to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    settings.control_hosts.contains(&host)
        || host.parse::<IpAddr>().is_ok()
        || bare.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_echo_only_hosts_that_are_ours() {
        let settings = Settings {
            external_url: "http://api.example.org:8080".into(),
            domain: "example.org".into(),
            front_port: 8080,
            control_hosts: vec!["example.org".into(), "api.example.org".into()],
            version: "1.0.0".into(),
        };
        for (host, want) in [
            ("api.example.org:9000", "http://api.example.org:9000"),
            ("API.Example.org", "http://api.example.org"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("evil.example", "http://api.example.org:8080"),
            ("x@127.0.0.1", "http://api.example.org:8080"),
            ("127.0.0.1.evil.example", "http://api.example.org:8080"),
            ("", "http://api.example.org:8080"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header"));
            assert_eq!(Urls::of_request(&headers, &settings).base(), want, "{host}");
        }
        assert_eq!(
            Urls::of_request(&HeaderMap::new(), &settings).base(),
            "http://api.example.org:8080"
        );
    }
}
