//! How containers resolve names: with the host's own resolver, made reachable where it only listens on loopback, or on a
//! link-local address, which containers must not reach otherwise (it is the metadata service's too in some clouds).

use std::net::Ipv4Addr;
use std::path::Path;

/// systemd-resolved's list of the real servers behind its loopback stub.
const RESOLVED: &str = "run/systemd/resolve/resolv.conf";
const HOST: &str = "etc/resolv.conf";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::linux) struct Resolver {
    /// The container's `resolv.conf`.
    pub(in crate::linux) text: String,
    /// The address to which queries at the gateway are to be sent, if that is how it works.
    pub(super) forward_to: Option<Ipv4Addr>,
}

/// Read afresh for every container, as laptops change networks.
pub(in crate::linux) fn for_containers(gateway: Ipv4Addr) -> Resolver {
    choose(Path::new("/"), gateway)
}

fn choose(root: &Path, gateway: Ipv4Addr) -> Resolver {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let host = read(HOST);
    let resolved = read(RESOLVED);
    let real = [&host, &resolved]
        .into_iter()
        .find(|text| servers(text).any(is_reachable));
    if let Some(text) = real {
        return Resolver {
            text: keep_reachable(text),
            forward_to: None,
        };
    }
    let others = || servers(&host).chain(servers(&resolved));
    let link_local = others().find(Ipv4Addr::is_link_local);
    let forward_to = link_local.or_else(|| others().next());
    let settings = host.lines().filter(|line| server_text(line).is_none());
    let text = settings
        .chain([format!("nameserver {gateway}").as_str()])
        .map(|line| format!("{line}\n"))
        .collect();
    Resolver {
        text,
        forward_to: Some(forward_to.unwrap_or(Ipv4Addr::LOCALHOST)),
    }
}

fn servers(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    text.lines().filter_map(server)
}

/// The name server of a line. Containers have no IPv6, so others do not count.
fn server(line: &str) -> Option<Ipv4Addr> {
    server_text(line)?.parse().ok()
}

fn server_text(line: &str) -> Option<&str> {
    Some(line.trim().strip_prefix("nameserver")?.trim())
}

fn is_reachable(server: Ipv4Addr) -> bool {
    !server.is_loopback() && !server.is_link_local()
}

fn keep_reachable(text: &str) -> String {
    let lines = text
        .lines()
        .filter(|line| server_text(line).is_none() || server(line).is_some_and(is_reachable));
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

    #[test]
    fn a_server_that_containers_cannot_reach_is_reached_by_the_gateway() {
        let metadata = Some(Ipv4Addr::new(169, 254, 169, 254));
        for (host, resolved) in [
            ("nameserver 169.254.169.254\n", None),
            (
                "nameserver 127.0.0.53\n",
                Some("nameserver fe80::1%eth0\nnameserver 169.254.169.254\n"),
            ),
        ] {
            let got = with(host, resolved);
            assert_eq!(
                (got.text.as_str(), got.forward_to),
                ("nameserver 10.9.0.1\n", metadata)
            );
        }
        let both = with("nameserver 2001:db8::53\nnameserver 192.0.2.53\n", None);
        assert_eq!(both.text, "nameserver 192.0.2.53\n");
        let six = with("nameserver 2001:db8::53\n", None);
        assert_eq!(
            (six.text.as_str(), six.forward_to),
            ("nameserver 10.9.0.1\n", Some(Ipv4Addr::LOCALHOST))
        );
    }
}
