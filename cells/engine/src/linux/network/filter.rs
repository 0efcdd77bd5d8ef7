//! The engine's own table of the packet filter. Nobody else's rules are touched here, and nobody's are flushed.
//!
//! What a container may do: reach the outside through the host's address; reach services of the host, by the gateway's
//! address also those that listen on the loopback address only. What it may not: reach another container, a link-local
//! or metadata address, or a port of the platform, or what other programs keep in networks of their own on this host, or
//! fill the host's one table of connections.

use std::net::Ipv4Addr;

use nlink::netlink::nftables::expr::{DynsetExpr, DynsetOp, ElementStatement};
use nlink::netlink::nftables::{
    BaseChain, Chain, CmpOp, CtDirection, CtState, CtStatus, Expr, Family, FilterHook, HashKind,
    MetaKey, NatHook, PacketField, Policy, Priority, Register, Rule, Set, SetKeyType, Transaction,
};
use nlink::netlink::{Connection, Nftables};

use super::super::addresses::PREFIX;
use super::{Names, netlink};
use crate::EngineError;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Where Alibaba Cloud and Oracle Cloud tell a host's credentials, beyond the link-local addresses.
const METADATA: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// Azure's, by these ports. It is the host's name server too, and stays that.
const WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
const WIRE_SERVER_PORTS: [u16; 2] = [80, 32_526];

/// How the names of links begin that lead to containers and machines of others on this host.
const FOREIGN_LINKS: [&str; 7] = [
    "docker",
    "podman",
    "cni-podman",
    "virbr",
    "lxcbr",
    "lxdbr",
    "incusbr",
];
/// A network that somebody made in Docker has a link with twelve digits after this, which fills a name. Shorter ones may
/// be the host's own way out.
const FOREIGN_BRIDGE: &[u8] = b"br-";
/// Bytes of a link's name, as the kernel compares it.
const LINK_NAME: usize = 16;

/// The set of addresses from which connections were made, with how many each has now.
const FLOWS: &str = "flows";
/// The same for all containers together, in parts.
const ALL_FLOWS: &str = "all-flows";
/// Connections that one container may have outwards at a time: as many as a process may have open files. The kernel leaves
/// out those that have ended and stay in its table for a while, and drops these early where the table gets full
/// (`already_closed` in nf_conncount.c, `gc_worker` in nf_conntrack_core.c).
const MAX_FLOWS: u32 = 16_384;
/// The kernel looks through a count for what has ended, so one count of all would make every connection slow. A connection
/// is in the part that the kernel's hash of it says, whose secret no container knows: whoever could choose would fill a
/// part that others need.
const PARTS: u32 = 16;
const TABLE_SIZE: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const USUAL_TABLE_SIZE: u32 = 262_144;

/// How many connections there may be at a time. Once the host's table is full, nobody on the host gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    one_container: u32,
    /// Of all containers, where the kernel can tell the parts.
    each_part: Option<u32>,
}

impl Bounds {
    /// An eighth of the host's table for one container, half of it for all.
    fn within(table_size: u32) -> Self {
        Self {
            one_container: (table_size / 8).clamp(1, MAX_FLOWS),
            each_part: Some((table_size / 2 / PARTS).max(1)),
        }
    }

    /// The size that the kernel has chosen by the host's memory. Absent until something is tracked.
    fn of_host() -> Self {
        let size = std::fs::read_to_string(TABLE_SIZE).ok();
        match size.and_then(|size| size.trim().parse().ok()) {
            // Without a bound.
            Some(0) => Self::within(u32::MAX),
            size => Self::within(size.unwrap_or(USUAL_TABLE_SIZE)),
        }
    }
}

pub(super) struct Rules<'a> {
    pub(super) names: &'a Names,
    pub(super) base: Ipv4Addr,
    pub(super) gateway: Ipv4Addr,
    pub(super) platform_ports: &'a [u16],
    /// Where DNS queries to the gateway go, if not to 127.0.0.1.
    pub(super) resolver: Option<Ipv4Addr>,
}

/// Replaces the table in one transaction, so that no packet meets half of it.
pub(super) async fn install(rules: &Rules<'_>) -> Result<(), EngineError> {
    let bounds = Bounds::of_host();
    let Err(error) = install_with(rules, Some(bounds)).await else {
        // The first rules that ask for tracking may have brought it into the kernel.
        let known = Bounds::of_host();
        return if known == bounds {
            Ok(())
        } else {
            install_with(rules, Some(known)).await
        };
    };
    // Kernels can be built without the parts that hash and count.
    let alone = Bounds {
        each_part: None,
        ..bounds
    };
    if install_with(rules, Some(alone)).await.is_ok() {
        tracing::warn!(%error, "connections of all containers together are not limited in number");
        return Ok(());
    }
    install_with(rules, None).await?;
    tracing::warn!(%error, "connections of containers are not limited in number");
    Ok(())
}

async fn install_with(rules: &Rules<'_>, bounds: Option<Bounds>) -> Result<(), EngineError> {
    let failed = || netlink(format!("install the packet filter {}", rules.names.table));
    let kernel = Connection::<Nftables>::new().map_err(failed())?;
    let table = rules.names.table.as_str();
    let start = kernel.transaction();
    let emptied = if exists(rules.names).await? {
        start.del_table(table, Family::Ip)
    } else {
        start
    };
    let fresh = emptied.add_table(table, Family::Ip);
    let with_chains = chains(table)
        .map_err(failed())?
        .into_iter()
        .fold(fresh, Transaction::add_chain);
    let set = |name| Set::new(table, name).family(Family::Ip).dynamic();
    let mut counted = with_chains;
    if let Some(bounds) = bounds {
        counted = counted
            .add_set(set(FLOWS).size(1 << (32 - PREFIX)))
            .add_rule(count(rules.names, bounds.one_container));
    }
    if let Some(most) = bounds.and_then(|bounds| bounds.each_part) {
        counted = counted
            .add_set(set(ALL_FLOWS).key_type(SetKeyType::Mark).size(PARTS))
            .add_rule(count_all(rules.names, most));
    }
    let complete = list(rules).into_iter().fold(counted, Transaction::add_rule);
    complete.commit(&kernel).await.map_err(failed())
}

/// Whether the table is there with all its rules. Who changes single rules meant it; who flushed them did not mean us.
pub(super) async fn is_whole(rules: &Rules<'_>) -> Result<bool, EngineError> {
    if !exists(rules.names).await? {
        return Ok(false);
    }
    let failed = netlink("open a netlink socket");
    let kernel = Connection::<Nftables>::new().map_err(failed)?;
    let found = listed!(
        "list the rules around containers",
        kernel.list_rules(&rules.names.table, Family::Ip)
    )?;
    Ok(found.len() >= list(rules).len())
}

pub(super) async fn exists(names: &Names) -> Result<bool, EngineError> {
    let failed = netlink("open a netlink socket");
    let kernel = Connection::<Nftables>::new().map_err(failed)?;
    let tables = listed!(
        "list the packet filter's tables",
        kernel.list_tables_in(Family::Ip)
    )?;
    Ok(tables.iter().any(|known| known.name == names.table))
}

pub(super) async fn remove(names: &Names) -> Result<(), EngineError> {
    let failed = || netlink(format!("remove the packet filter {}", names.table));
    let kernel = Connection::<Nftables>::new().map_err(failed())?;
    kernel
        .del_table_if_exists(names.table.as_str(), Family::Ip)
        .await
        .map(drop)
        .map_err(failed())
}

fn chains(table: &str) -> nlink::Result<Vec<Chain>> {
    let filter = |hook, priority| BaseChain::filter(hook, priority).policy(Policy::Accept);
    let nat = |hook, priority| BaseChain::nat(hook, priority).policy(Policy::Accept);
    [
        ("guard", filter(FilterHook::Prerouting, Priority::Raw)),
        ("count", filter(FilterHook::Prerouting, Priority::Mangle)),
        ("to-host", nat(NatHook::Prerouting, Priority::DstNat)),
        ("host", filter(FilterHook::Input, Priority::Filter)),
        ("forward", filter(FilterHook::Forward, Priority::Filter)),
        ("egress", nat(NatHook::Postrouting, Priority::SrcNat)),
    ]
    .into_iter()
    .map(|(name, base)| Ok(Chain::new(table, name)?.family(Family::Ip).base(base)))
    .collect()
}

/// Drops the packet that would begin one connection too many of its sender.
fn count(names: &Names, most: u32) -> Rule {
    new_from_container(names)
        .dynset(PacketField::Ip4Saddr, counting(FLOWS, most))
        .drop()
}

/// Drops the packet that would begin one connection too many of all containers together.
fn count_all(names: &Names, most: u32) -> Rule {
    let part = Expr::Hash {
        dreg: Register::R0,
        kind: HashKind::Sym,
        sreg: None,
        len: 0,
        modulus: PARTS,
        seed: None,
        offset: 0,
    };
    new_from_container(names)
        .expr(part)
        .expr(counting(ALL_FLOWS, most))
        .drop()
}

fn new_from_container(names: &Names) -> Rule {
    Rule::new(&names.table, "count")
        .family(Family::Ip)
        .match_iif_prefix(&names.link_prefix)
        .match_ct_state(CtState::NEW)
}

fn counting(set: &str, most: u32) -> DynsetExpr {
    let over = ElementStatement::Connlimit {
        count: most,
        over: true,
    };
    DynsetExpr::new(DynsetOp::Add, set, Register::R0).statement(over)
}

/// Goes on where the packet leaves by a link that has the name of a Docker network.
fn to_foreign_bridge(rule: Rule) -> Rule {
    let mut last = vec![0; LINK_NAME];
    // After it comes the zero that ends a name.
    last[LINK_NAME - 2] = 0xff;
    rule.expr(Expr::Meta {
        dreg: Register::R0,
        key: MetaKey::OifName,
    })
    .expr(Expr::Cmp {
        sreg: Register::R0,
        op: CmpOp::Eq,
        data: FOREIGN_BRIDGE.to_vec(),
    })
    .expr(Expr::Bitwise {
        sreg: Register::R0,
        dreg: Register::R0,
        len: u32::try_from(LINK_NAME).unwrap_or_default(),
        mask: last,
        xor: vec![0; LINK_NAME],
    })
    .expr(Expr::Cmp {
        sreg: Register::R0,
        op: CmpOp::Neq,
        data: vec![0; LINK_NAME],
    })
}

fn list(rules: &Rules<'_>) -> Vec<Rule> {
    let Rules {
        names,
        base,
        gateway,
        platform_ports,
        resolver,
    } = *rules;
    let rule = |chain: &str| Rule::new(&names.table, chain).family(Family::Ip);
    let from_container = |chain: &str| rule(chain).match_iif_prefix(&names.link_prefix);
    let to_container = |chain: &str| rule(chain).match_oif_prefix(&names.link_prefix);
    let known = CtState::ESTABLISHED | CtState::RELATED;
    let loopback = Ipv4Addr::LOCALHOST;

    let mut list = vec![
        from_container("guard")
            .match_daddr_v4(Ipv4Addr::new(127, 0, 0, 0), 8)
            .drop(),
        from_container("guard")
            .match_daddr_v4(Ipv4Addr::new(169, 254, 0, 0), 16)
            .drop(),
    ];
    list.extend(METADATA.map(|address| from_container("guard").match_daddr_v4(address, 32).drop()));
    list.extend(WIRE_SERVER_PORTS.map(|port| {
        from_container("guard")
            .match_daddr_v4(WIRE_SERVER, 32)
            .match_l4proto(TCP)
            .match_tcp_dport(port)
            .drop()
    }));
    for protocol in resolver.iter().flat_map(|_| [TCP, UDP]) {
        let query = from_container("to-host")
            .match_daddr_v4(gateway, 32)
            .match_l4proto(protocol);
        let query = if protocol == TCP {
            query.match_tcp_dport(53)
        } else {
            query.match_udp_dport(53)
        };
        list.extend(resolver.map(|resolver| query.dnat(resolver, None)));
    }
    list.push(
        from_container("to-host")
            .match_daddr_v4(gateway, 32)
            .dnat(loopback, None),
    );

    // By the direction, since the host's own connections to containers may begin at a port of the same number.
    list.extend(platform_ports.iter().map(|port| {
        from_container("host")
            .match_ct_direction(CtDirection::Original)
            .match_tcp_dport(*port)
            .drop()
    }));

    // First of all, so that a connection which began while somebody had flushed the rules does not go on.
    list.push(
        from_container("forward")
            .match_daddr_v4(base, PREFIX)
            .drop(),
    );
    // What others publish on the host's addresses has had its address translated; what they keep to themselves has not.
    list.push(
        from_container("forward")
            .match_ct_status(CtStatus::DST_NAT)
            .accept(),
    );
    list.extend(FOREIGN_LINKS.map(|link| from_container("forward").match_oif_prefix(link).drop()));
    list.push(to_foreign_bridge(from_container("forward")).drop());
    list.push(from_container("forward").match_ct_state(known).accept());
    list.push(to_container("forward").match_ct_state(known).accept());
    list.push(to_container("forward").drop());

    // From the host itself or between containers, nothing is translated.
    list.push(to_container("egress").accept());
    list.push(rule("egress").match_saddr_v4(base, PREFIX).masquerade());
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_together_leave_half_of_any_hosts_table() {
        for (table_size, one_container) in [
            (8192, 1024),
            (65_536, 8192),
            (262_144, 16_384),
            (u32::MAX, 16_384),
        ] {
            let bounds = Bounds::within(table_size);
            assert_eq!(bounds.one_container, one_container, "{table_size}");
            let together = bounds.each_part.expect("bounded") * PARTS;
            assert!(together <= table_size / 2, "{table_size}");
        }
        let least = Bounds::within(1);
        assert_eq!((least.one_container, least.each_part), (1, Some(1)));
    }
}
