//! A part of 10.0.0.0/8 for the instances of this platform, apart from what the host uses already.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context as _, bail};

/// Pools are /20s in the upper half of 10.0.0.0/8, where home and office networks are rarest.
const POOLS: u32 = 1 << 11;
const FIRST: u32 = u32::from_be_bytes([10, 128, 0, 0]);
const POOL_ADDRESSES: u32 = 1 << 12;

/// The first free pool, beginning at a place that depends on the data folder, so that several platforms on one host
/// seldom meet.
pub(super) fn free_pool(data: &Path) -> anyhow::Result<IpAddr> {
    let routes =
        std::fs::read_to_string("/proc/net/route").context("the host's routes can't be read")?;
    let taken = taken(&routes);
    let start = data
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0_u32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(u32::from(*byte))
        });
    for offset in 0..POOLS {
        let first = FIRST + (start.wrapping_add(offset) % POOLS) * POOL_ADDRESSES;
        let last = first + POOL_ADDRESSES - 1;
        if !taken.iter().any(|(from, to)| *from <= last && first <= *to) {
            return Ok(Ipv4Addr::from(first).into());
        }
    }
    bail!("this host's routes use all of 10.128.0.0/9; there is no room for the instances' network")
}

/// Address ranges that the host has routes for, but for the default route.
fn taken(routes: &str) -> Vec<(u32, u32)> {
    let ranges = routes.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let destination = u32::from_str_radix(fields.nth(1)?, 16).ok()?.swap_bytes();
        let mask = u32::from_str_radix(fields.nth(5)?, 16).ok()?.swap_bytes();
        (mask != 0).then_some((destination & mask, destination | !mask))
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_the_host_are_ranges_and_the_default_route_is_not() {
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t0000800A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let ten_128 = u32::from_be_bytes([10, 128, 0, 0]);
        assert_eq!(taken(text), [(ten_128, ten_128 + 0xFFFF)]);
    }
}
