//! The engine's own table of the packet filter. Nobody else's rules are touched here, and nobody's are flushed.
//!
//! What a container may do: reach the outside through the host's address; reach services of the host, by the gateway's
//! address also those that listen on the loopback address only. What it may not: reach another container, a link-local
//! or metadata address, or a port of the platform, or fill the host's one table of connections.

use std::net::Ipv4Addr;

use nlink::netlink::nftables::expr::{DynsetExpr, DynsetOp, ElementStatement};
use nlink::netlink::nftables::{
    BaseChain, Chain, CtDirection, CtState, Family, FilterHook, NatHook, PacketField, Policy,
    Priority, Register, Rule, Set, Transaction,
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

/// The set of addresses from which connections were made, with how many each has now.
const FLOWS: &str = "flows";
/// Connections that one container may have outwards at a time: as many as a process may have open files. The host's table
/// holds 262,144 for all, by default, and no new connection of anybody once it is full.
const MAX_FLOWS: u32 = 16_384;

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
    let Err(error) = install_with(rules, true).await else {
        return Ok(());
    };
    // Kernels can be built without the part that counts.
    install_with(rules, false).await?;
    tracing::warn!(%error, "connections of a container are not limited in number");
    Ok(())
}

async fn install_with(rules: &Rules<'_>, counting: bool) -> Result<(), EngineError> {
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
    let counted = if counting {
        let set = Set::new(table, FLOWS).family(Family::Ip).dynamic();
        with_chains
            .add_set(set.size(1 << (32 - PREFIX)))
            .add_rule(count(rules.names))
    } else {
        with_chains
    };
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
fn count(names: &Names) -> Rule {
    let over = ElementStatement::Connlimit {
        count: MAX_FLOWS,
        over: true,
    };
    let flows = DynsetExpr::new(DynsetOp::Add, FLOWS, Register::R0).statement(over);
    Rule::new(&names.table, "count")
        .family(Family::Ip)
        .match_iif_prefix(&names.link_prefix)
        .match_ct_state(CtState::NEW)
        .dynset(PacketField::Ip4Saddr, flows)
        .drop()
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
    list.push(from_container("forward").match_ct_state(known).accept());
    list.push(to_container("forward").match_ct_state(known).accept());
    list.push(to_container("forward").drop());

    // From the host itself or between containers, nothing is translated.
    list.push(to_container("egress").accept());
    list.push(rule("egress").match_saddr_v4(base, PREFIX).masquerade());
    list
}
