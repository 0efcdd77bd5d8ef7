//! The engine's own table of the packet filter. Nobody else's rules are touched here, and nobody's are flushed.
//!
//! What a container may do: reach the outside through the host's address; reach services of the host, by the gateway's
//! address also those that listen on the loopback address only. What it may not: reach another container, a link-local
//! or metadata address, or a port of the platform.

use std::net::Ipv4Addr;

use nlink::netlink::nftables::{
    BaseChain, Chain, CtState, Family, FilterHook, NatHook, Policy, Priority, Rule, Transaction,
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
    let complete = list(rules)
        .into_iter()
        .fold(with_chains, Transaction::add_rule);
    complete.commit(&kernel).await.map_err(failed())
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
        ("to-host", nat(NatHook::Prerouting, Priority::DstNat)),
        ("host", filter(FilterHook::Input, Priority::Filter)),
        ("forward", filter(FilterHook::Forward, Priority::Filter)),
        ("egress", nat(NatHook::Postrouting, Priority::SrcNat)),
    ]
    .into_iter()
    .map(|(name, base)| Ok(Chain::new(table, name)?.family(Family::Ip).base(base)))
    .collect()
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

    list.push(from_container("host").match_ct_state(known).accept());
    list.extend(
        platform_ports
            .iter()
            .map(|port| from_container("host").match_tcp_dport(*port).drop()),
    );

    list.push(from_container("forward").match_ct_state(known).accept());
    list.push(to_container("forward").match_ct_state(known).accept());
    list.push(to_container("forward").drop());
    list.push(
        from_container("forward")
            .match_daddr_v4(base, PREFIX)
            .drop(),
    );

    // From the host itself or between containers, nothing is translated.
    list.push(to_container("egress").accept());
    list.push(rule("egress").match_saddr_v4(base, PREFIX).masquerade());
    list
}
