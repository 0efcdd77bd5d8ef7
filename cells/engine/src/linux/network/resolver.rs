//! How containers resolve names: with the host's own resolver, made reachable where it only listens on loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// systemd-resolved's list of the real servers behind its loopback stub.
const RESOLVED: &str = "run/systemd/resolve/resolv.conf";
const HOST: &str = "etc/resolv.conf";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::linux) struct Resolver {
    /// The container's `resolv.conf`.
    pub(in crate::linux) text: String,
    /// The loopback address to which queries at the gateway are to be sent, if that is how it works.
    pub(super) forward_to: Option<Ipv4Addr>,
}

/// Read afresh for every container, as laptops change networks.
pub(in crate::linux) fn for_containers(gateway: Ipv4Addr) -> Resolver {
    choose(Path::new("/"), gateway)
}

fn choose(root: &Path, gateway: Ipv4Addr) -> Resolver {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let host = read(HOST);
    let real = [host.clone(), read(RESOLVED)]
        .into_iter()
        .find(|text| servers(text).any(|server| !server.is_loopback()));
    if let Some(text) = real {
        return Resolver {
            text: keep_reachable(&text),
            forward_to: None,
        };
    }
    let loopback = servers(&host).find_map(|server| match server {
        IpAddr::V4(server) => Some(server),
        IpAddr::V6(_) => None,
    });
    let others = host
        .lines()
        .filter(|line| !line.trim_start().starts_with("nameserver"));
    let text = others
        .chain([format!("nameserver {gateway}").as_str()])
        .map(|line| format!("{line}\n"))
        .collect();
    Resolver {
        text,
        forward_to: Some(loopback.unwrap_or(Ipv4Addr::LOCALHOST)),
    }
}

fn servers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(server)
}

fn server(line: &str) -> Option<IpAddr> {
    line.trim().strip_prefix("nameserver")?.trim().parse().ok()
}

fn keep_reachable(text: &str) -> String {
    let lines = text
        .lines()
        .filter(|line| !server(line).is_some_and(|server| server.is_loopback()));
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(host: &str, resolved: Option<&str>) -> Resolver {
        let root = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir_all(root.path().join("etc")).expect("folder");
        std::fs::write(root.path().join(HOST), host).expect("file");
        if let Some(text) = resolved {
            std::fs::create_dir_all(root.path().join("run/systemd/resolve")).expect("folder");
            std::fs::write(root.path().join(RESOLVED), text).expect("file");
        }
        choose(root.path(), Ipv4Addr::new(10, 9, 0, 1))
    }

    #[test]
    fn a_container_gets_a_resolver_that_it_can_reach() {
        let plain = with(
            "search example.org\nnameserver 192.0.2.53\nnameserver 127.0.0.1\n",
            None,
        );
        assert_eq!(
            plain,
            Resolver {
                text: "search example.org\nnameserver 192.0.2.53\n".into(),
                forward_to: None
            }
        );
        let stub = with("nameserver 127.0.0.53\n", Some("nameserver 192.0.2.1\n"));
        assert_eq!(
            stub,
            Resolver {
                text: "nameserver 192.0.2.1\n".into(),
                forward_to: None
            }
        );
        let local = with("nameserver 127.0.0.2\noptions edns0\n", None);
        let forward_to = Some(Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(
            local,
            Resolver {
                text: "options edns0\nnameserver 10.9.0.1\n".into(),
                forward_to
            }
        );
    }
}
