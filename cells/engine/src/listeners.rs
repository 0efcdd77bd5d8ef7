//! Which TCP sockets some processes listen on, read from `/proc`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use model::instance::Listener;

/// Most sockets that are told of. More would help nobody, and a report of them all would not fit into a frame.
const MAX_FOUND: usize = 32;
/// Most descriptors that are looked at; a container may have millions.
const MAX_DESCRIPTORS: usize = 100_000;

/// At most [`MAX_FOUND`] of the listening sockets of `pids`, which share the network namespace of `namespace_of`. With
/// `only_owned`, sockets that belong to none of `pids` are left out (the namespace is shared with others).
pub(crate) fn find(namespace_of: i32, pids: &[i32], only_owned: bool) -> Vec<Listener> {
    let mut owners: HashMap<u64, i32> = HashMap::new();
    let descriptors = pids.iter().flat_map(|&pid| {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(move |entry| (pid, entry))
    });
    for (pid, entry) in descriptors.take(MAX_DESCRIPTORS) {
        if let Ok(link) = std::fs::read_link(entry.path())
            && let Some(inode) = socket_inode(&link)
        {
            owners.entry(inode).or_insert(pid);
        }
    }
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let Ok(rows) = File::open(format!("/proc/{namespace_of}/net/{table}")) else {
            continue;
        };
        // The kernel lists those that listen before all others.
        let rows = BufReader::new(rows).lines().map_while(Result::ok).skip(1);
        for (address, inode) in rows.filter_map(|row| listening(&row)) {
            if found.len() >= MAX_FOUND {
                break;
            }
            let owner = owners.get(&inode).copied();
            if owner.is_some() || !only_owned {
                let pid = owner.and_then(pid_inside);
                let command =
                    owner.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok());
                found.push(Listener {
                    address,
                    pid,
                    command: command.map(|name| name.trim_end().to_owned()),
                });
            }
        }
    }
    found.sort_by_key(|listener| listener.address);
    found
}

fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// Address and inode of a row of `/proc/net/tcp` that is in state LISTEN.
fn listening(row: &str) -> Option<(SocketAddr, u64)> {
    let mut fields = row.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    if state != "0A" {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes()).into(),
        32 => {
            let mut octets = [0; 16];
            for (at, word) in octets.chunks_exact_mut(4).enumerate() {
                word.copy_from_slice(
                    &u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16)
                        .ok()?
                        .to_ne_bytes(),
                );
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some((
        SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?),
        inode.parse().ok()?,
    ))
}

/// The pid that a process has in its own, innermost pid namespace.
fn pid_inside(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_kernels_table_are_read() {
        let v4 = "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  2000        0 4711 1 x";
        assert_eq!(
            listening(v4),
            Some(("127.0.0.1:3000".parse().expect("address"), 4711))
        );
        let v6 = "   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 7 1";
        assert_eq!(
            listening(v6),
            Some(("[::1]:8080".parse().expect("address"), 7))
        );
        let established = v4.replace(" 0A ", " 01 ");
        assert_eq!(listening(&established), None);
        assert_eq!(listening("garbage"), None);
    }

    #[test]
    fn a_socket_of_this_process_is_found_with_its_owner() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let own: i32 = std::process::id().try_into().expect("pids are positive");
        let found = find(own, &[own], true);
        let address = listener.local_addr().expect("bound");
        let ours = found
            .iter()
            .find(|found| found.address == address)
            .expect("is listed");
        assert_eq!(ours.pid, Some(std::process::id()));
        assert!(ours.command.as_ref().is_some_and(|name| !name.is_empty()));
    }
}
