//! Which container has which address of the pool.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use crate::EngineError;

/// The pool is a /20.
pub(super) const PREFIX: u8 = 20;
const SIZE: u32 = 1 << (32 - PREFIX);

/// Hands out addresses. One that was given back comes around last, so that a router which still knows the old instance
/// does not meet another one there.
#[derive(Debug)]
pub(super) struct Addresses {
    pool: Ipv4Addr,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: HashSet<u32>,
    next: u32,
}

/// The pool's first address, whatever address of it was configured.
pub(super) fn base(pool: IpAddr) -> Result<Ipv4Addr, EngineError> {
    match pool {
        IpAddr::V4(pool) => Ok(Ipv4Addr::from_bits(pool.to_bits() & !(SIZE - 1))),
        IpAddr::V6(_) => Err(EngineError::Setup(
            "the address pool must be IPv4".to_owned(),
        )),
    }
}

/// The host's side of every container's link.
pub(super) const fn gateway(base: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(base.to_bits() + 1)
}

impl Addresses {
    pub(super) fn new(
        pool: IpAddr,
        taken: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Self, EngineError> {
        let pool = base(pool)?;
        let offset = |address| match address {
            IpAddr::V4(address) => Some(address.to_bits().wrapping_sub(pool.to_bits())),
            IpAddr::V6(_) => None,
        };
        let taken: HashSet<u32> = taken.into_iter().filter_map(offset).collect();
        let next = taken
            .iter()
            .copied()
            .filter(|offset| *offset < SIZE)
            .max()
            .map_or(FIRST, |offset| offset + 1);
        Ok(Self {
            pool,
            state: Mutex::new(State { taken, next }),
        })
    }

    pub(super) fn take(&self) -> Result<Ipv4Addr, EngineError> {
        let mut state = self.lock();
        for _ in FIRST..LAST {
            let offset = if state.next < LAST { state.next } else { FIRST };
            state.next = offset + 1;
            if state.taken.insert(offset) {
                return Ok(Ipv4Addr::from_bits(self.pool.to_bits() + offset));
            }
        }
        Err(EngineError::Setup(format!(
            "all {} addresses of {}/{PREFIX} are taken",
            LAST - FIRST,
            self.pool
        )))
    }

    pub(super) fn give_back(&self, address: Ipv4Addr) {
        self.lock()
            .taken
            .remove(&address.to_bits().wrapping_sub(self.pool.to_bits()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// After the network's own address and the gateway.
const FIRST: u32 = 2;
/// The broadcast address, not handed out.
const LAST: u32 = SIZE - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> IpAddr {
        "10.77.32.0".parse().expect("address")
    }

    #[test]
    fn an_address_that_was_given_back_comes_around_last() {
        let addresses = Addresses::new(pool(), []).expect("pool");
        let first = addresses.take().expect("free");
        addresses.give_back(first);
        let count = (LAST - FIRST) as usize;
        let others: Vec<_> = (1..count)
            .map(|_| addresses.take().expect("free"))
            .collect();
        assert!(!others.contains(&first));
        assert_eq!(addresses.take().expect("free"), first);
        assert!(addresses.take().is_err(), "the pool is exhausted");
    }

    #[test]
    fn addresses_of_adopted_containers_are_not_handed_out() {
        let taken: IpAddr = "10.77.32.2".parse().expect("address");
        let addresses = Addresses::new(pool(), [taken]).expect("pool");
        assert_ne!(IpAddr::V4(addresses.take().expect("free")), taken);
        assert_eq!(
            gateway(base("10.77.40.9".parse().expect("address")).expect("v4")).to_string(),
            "10.77.32.1"
        );
    }
}
