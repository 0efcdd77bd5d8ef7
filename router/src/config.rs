//! What a router is told at its start.

use std::fmt;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// One router: one front port, one server behind it.
#[derive(Debug)]
pub struct Config {
    /// The front port, bound by whoever started the router, so that a restart loses no backlog.
    pub listener: TcpListener,
    /// The unix socket of the server's public API; requests to control hosts go there.
    pub control_socket: PathBuf,
    /// The server's internal unix socket, which offers `GET /internal/routes`.
    pub routes_socket: PathBuf,
    /// Where the last route table is kept, in JSON.
    pub table_file: PathBuf,
    /// Control hosts until the first table names them.
    pub control_hosts: Vec<String>,
    /// Peers whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// Allows a listener beyond loopback although the front port speaks plain HTTP.
    pub insecure_http: bool,
    pub bounds: Bounds,
}

impl Config {
    /// A router with no trusted proxies, loopback only, and the default bounds.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        control_socket: PathBuf,
        routes_socket: PathBuf,
        table_file: PathBuf,
    ) -> Self {
        Self {
            listener,
            control_socket,
            routes_socket,
            table_file,
            control_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            insecure_http: false,
            bounds: Bounds::default(),
        }
    }
}

/// The limits that keep one client or one app from harming the others.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Client connections at one time; further ones wait in the listener's backlog.
    pub max_connections: usize,
    /// Request line and headers, bytes; more is answered with 431.
    pub max_header_bytes: usize,
    /// From the first byte awaited to the last byte of a request's head; so it is also the idle time of a kept-alive
    /// client connection.
    pub header_timeout: Duration,
    /// How long a client may be gone without a word, or take nothing of what waits for it, before its connection is cut. It is
    /// also asked whether it is there where it is silent.
    pub client_silence: Duration,
    /// One dial of one instance. Gorouter's default.
    pub connect_timeout: Duration,
    /// From the last progress of the request's body to the response's head. Cloud Foundry's request timeout.
    pub response_timeout: Duration,
    /// The same towards a server that does not keep its route stream alive, and so is likely down.
    pub silent_server_timeout: Duration,
    /// From the start of a shutdown until what is still in flight is cut.
    pub drain_timeout: Duration,
    /// How long an unused connection to an instance is kept; below the 5 s after which Node.js closes its end.
    pub upstream_idle_timeout: Duration,
    /// How long an instance stands aside after a failed dial, while others are left.
    pub failed_endpoint_pause: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_header_bytes: 64 * 1024,
            header_timeout: Duration::from_secs(60),
            client_silence: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(900),
            silent_server_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            upstream_idle_timeout: Duration::from_secs(4),
            failed_endpoint_pause: Duration::from_secs(5),
        }
    }
}

/// A range of IP addresses, written `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is neither an IP address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a network; write it as 10.0.0.0/8 or fd00::/8")]
pub struct InvalidNetwork(pub String);

impl Network {
    /// Whether `address` lies in the network. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or(0);
                u32::from(net) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or(0);
                u128::from(net) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let address = address.to_canonical();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix
                .parse::<u8>()
                .ok()
                .filter(|prefix| *prefix <= longest)
                .ok_or_else(invalid)?,
            None => longest,
        };
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses_only() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("fd00::/8", "fdff::1", true),
            ("::/0", "fe80::1", true),
        ];
        for (network, address, expected) in cases {
            let network: Network = network.parse().expect("a network");
            assert_eq!(
                network.contains(address.parse().expect("an address")),
                expected,
                "{network} {address}"
            );
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "fd00::/129",
            "host/8",
            "10.0.0.0/-1",
        ] {
            assert_eq!(
                text.parse::<Network>(),
                Err(InvalidNetwork(text.to_owned()))
            );
        }
    }
}
