//! Values that point an app at itself by mistake: inside an instance, `localhost` is the instance.

use serde_json::Value;

use crate::context::Context;

/// The name under which an instance reaches the host it runs on.
pub(crate) const HOST_NAME: &str = "host.slipway.internal";

/// The loopback host in `value`, if it holds one: alone, with a port, in a URL with or without credentials, or in a
/// comma-separated list of hosts.
pub(crate) fn loopback_host(value: &str) -> Option<&str> {
    let authority = match value.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        // Without a scheme only a bare host, or host and port, counts: free text often says "localhost".
        None if value.contains(char::is_whitespace) => return None,
        None => value,
    };
    let hosts = authority
        .rsplit_once('@')
        .map_or(authority, |(_, hosts)| hosts);
    hosts
        .split(',')
        .map(|host| without_port(host.trim()))
        .find(|host| is_loopback(host))
}

fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.rsplit_once(':') {
        // More than one colon: an IPv6 address without brackets.
        Some((before, port))
            if !before.contains(':') && port.chars().all(|c| c.is_ascii_digit()) =>
        {
            before
        }
        _ => host,
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    host.parse::<std::net::IpAddr>()
        .is_ok_and(|address| match address {
            std::net::IpAddr::V4(address) => address.is_loopback(),
            std::net::IpAddr::V6(address) => {
                address.is_loopback()
                    || address
                        .to_ipv4_mapped()
                        .is_some_and(|address| address.is_loopback())
            }
        })
}

/// The warning for a value that `name` has. The value itself may be a secret and is not shown.
pub(crate) fn warning(name: &str, host: &str) -> String {
    format!(
        "{name} points to {host}, which inside an instance is the instance itself; the host is {HOST_NAME} there"
    )
}

/// Whether such an address is wrong on this server: only one that says it runs containers gives each instance a network
/// of its own. What a server does not say it warns of itself when the app starts.
pub(crate) async fn matters(cx: &Context) -> bool {
    let info = cx
        .client
        .get::<api_types::Info>("/v3/info")
        .await
        .unwrap_or_default();
    info.custom.get("isolation").and_then(Value::as_str) == Some("container")
}

/// All texts inside a JSON value.
pub(crate) fn collect_texts<'v>(value: &'v Value, into: &mut Vec<&'v str>, depth: usize) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) if depth < 8 => {
            items
                .iter()
                .for_each(|item| collect_texts(item, into, depth + 1));
        }
        Value::Object(map) if depth < 8 => {
            map.values()
                .for_each(|item| collect_texts(item, into, depth + 1));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_are_found_where_they_mean_a_host() {
        for (value, want) in [
            ("mongodb://localhost:27017/shop", Some("localhost")),
            ("mongodb://user:p@ss@127.0.0.1/db", Some("127.0.0.1")),
            (
                "mongodb://db1.example.com,LOCALHOST:27018/x?replicaSet=r",
                Some("LOCALHOST"),
            ),
            ("postgres://[::1]:5432/x", Some("::1")),
            ("http://127.8.9.10", Some("127.8.9.10")),
            ("redis://[::ffff:127.0.0.1]", Some("::ffff:127.0.0.1")),
            ("localhost", Some("localhost")),
            ("localhost:9200", Some("localhost")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("::1", Some("::1")),
            ("mongodb://host.slipway.internal:27017", None),
            ("mongodb://db.example.com/localhost", None),
            ("https://localhost.example.com/", None),
            ("http://128.0.0.1", None),
            ("http://hello.localhost:8080/", None),
            ("do not use localhost here", None),
            ("0.0.0.0:8080", None),
            ("", None),
            ("://", None),
        ] {
            assert_eq!(loopback_host(value), want, "{value}");
        }
    }

    #[test]
    fn the_warning_names_the_way_out_and_not_the_value() {
        let text = warning("MONGODB_URI", "127.0.0.1");
        assert!(text.contains("MONGODB_URI") && text.contains("host.slipway.internal"));
    }
}
