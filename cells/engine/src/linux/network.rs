//! The network of containers: one point-to-point link each, routed by the host, and a packet filter around all of them.
//!
//! There is no bridge: a link is a veth pair whose host end carries the gateway's address and a /32 route to its one
//! container, so every packet from a container is routed and meets the filter ([`filter`]). The filter knows our links by
//! the beginning of their names and is the same however many containers run. The rest of the pool is unreachable, so
//! packets to a container that is gone go nowhere.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::addresses;
use crate::{EngineError, NetworkConfig};

/// Awaits a list from the kernel, and asks again where a change by somebody else interrupted the answer.
///
/// A macro, because the compiler cannot yet tell that a future made by a borrowed async closure may move between threads.
macro_rules! listed {
    ($tried:expr, $list:expr) => {{
        let mut attempts_left = 20;
        loop {
            attempts_left -= 1;
            match $list.await {
                Err(error)
                    if attempts_left > 0 && (error.is_dump_interrupted() || error.is_restart()) => {
                }
                other => break other.map_err($crate::linux::network::netlink($tried)),
            }
        }
    }};
}

mod filter;
mod forward;
mod kernel;
pub(super) mod resolver;

use kernel::Kernel;

/// What an engine's network does to the host, behind the one crate that speaks netlink.
pub(super) trait Host: Send + Sync {
    /// Makes a link into the network namespace of `pid`, where its other end is called `peer`. Replaces one of this name.
    fn add_link(
        &self,
        name: &str,
        peer: &str,
        pid: u32,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Gives the host's end its address, brings it up and routes `to` through it. The route's source is that address.
    fn route_link(
        &self,
        name: &str,
        own: Ipv4Addr,
        to: Ipv4Addr,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// A link that does not exist is no error.
    fn remove_link(&self, name: &str) -> impl Future<Output = Result<(), EngineError>> + Send;

    fn link_names(&self) -> impl Future<Output = Result<Vec<String>, EngineError>> + Send;

    /// Packets to this network that no other route takes are refused.
    fn make_unreachable(
        &self,
        base: Ipv4Addr,
        prefix: u8,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;

    fn forget_unreachable(
        &self,
        base: Ipv4Addr,
        prefix: u8,
    ) -> impl Future<Output = Result<(), EngineError>> + Send;
}

/// Looking at other people's tables may take programs of theirs, so it is done in one round of so many only. What is missing
/// there closes the way out, and opens none.
const ROUNDS_TO_FORWARD: u32 = 15;

/// The network of one engine.
#[derive(Debug)]
pub(super) struct Network {
    base: Ipv4Addr,
    kernel: Kernel,
    names: Names,
    platform_ports: Vec<u16>,
    /// Where the rules send the names that containers ask for.
    resolver: Mutex<Option<Ipv4Addr>>,
    /// How often the walls were looked after.
    rounds: AtomicU32,
}

/// What the engine's things are called on the host.
#[derive(Debug, Clone)]
struct Names {
    /// Of the packet filter's table, and the mark on rules in other people's tables.
    table: String,
    /// How the names of all our links begin. With three digits for the container they fit the kernel's 15 characters.
    link_prefix: String,
}

impl Names {
    fn of(engine: &str) -> Self {
        let hash = fnv1a(engine.as_bytes());
        let letters = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let short = |length: u32| -> String {
            let digit = |at: u32| letters[(hash / 36u64.pow(at) % 36) as usize] as char;
            (0..length).map(digit).collect()
        };
        Self {
            table: format!("slipway-{}", short(8)),
            link_prefix: format!("sw{}-", short(6)),
        }
    }
}

/// A hash that is the same in every version of this program.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Network {
    /// Idempotent. `engine` names the engine among those of this host.
    pub(super) async fn set_up(engine: &str, config: &NetworkConfig) -> Result<Self, EngineError> {
        let base = addresses::base(config.pool)?;
        let network = Self {
            base,
            kernel: Kernel,
            names: Names::of(engine),
            platform_ports: config.platform_ports.iter().map(SocketAddr::port).collect(),
            resolver: Mutex::default(),
            rounds: AtomicU32::new(1),
        };
        network
            .kernel
            .make_unreachable(base, addresses::PREFIX)
            .await?;
        let resolver = resolver::for_containers(network.gateway()).forward_to;
        network.install_filter(resolver).await?;
        network.let_through().await?;
        Ok(network)
    }

    async fn install_filter(&self, resolver: Option<Ipv4Addr>) -> Result<(), EngineError> {
        filter::install(&self.rules(resolver)).await?;
        *self.lock_resolver() = resolver;
        Ok(())
    }

    fn lock_resolver(&self) -> MutexGuard<'_, Option<Ipv4Addr>> {
        self.resolver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Installs the rules again where some are missing, or where the host has got another name server meanwhile. Returns whether
    /// some were missing.
    async fn mend_filter(&self) -> Result<bool, EngineError> {
        // Without a resolver there are the fewest rules.
        let whole = filter::is_whole(&self.rules(None)).await?;
        let resolver = resolver::for_containers(self.gateway()).forward_to;
        if !whole || *self.lock_resolver() != resolver {
            self.install_filter(resolver).await?;
        }
        Ok(!whole)
    }

    fn rules(&self, resolver: Option<Ipv4Addr>) -> filter::Rules<'_> {
        filter::Rules {
            names: &self.names,
            base: self.base,
            gateway: self.gateway(),
            platform_ports: &self.platform_ports,
            resolver,
        }
    }

    /// Puts back what somebody took away: firewalls flush all tables when they are reloaded. Returns whether it had to.
    pub(super) async fn restore(&self) -> Result<bool, EngineError> {
        let broken = self.mend_filter().await?;
        let round = self.rounds.fetch_add(1, Ordering::Relaxed);
        if broken || round.is_multiple_of(ROUNDS_TO_FORWARD) {
            self.let_through().await?;
        }
        Ok(broken)
    }

    /// Makes the host forward packets of containers. A Docker daemon may have started meanwhile, and with it a policy to
    /// drop what is forwarded.
    async fn let_through(&self) -> Result<(), EngineError> {
        set_sysctl("net/ipv4/ip_forward", "1")?;
        forward::allow(&self.names).await
    }

    pub(super) const fn gateway(&self) -> Ipv4Addr {
        addresses::gateway(self.base)
    }

    /// Sees to it that the walls stand before a link is made.
    pub(super) async fn guard(&self) -> Result<(), EngineError> {
        if self.mend_filter().await? {
            tracing::warn!(
                table = self.names.table,
                "the packet filter around containers was removed and is installed again"
            );
        }
        self.let_through().await
    }

    /// Links the container with this address, whose init is `pid`, to the host. To be called after [`Network::guard`].
    pub(super) async fn connect(&self, address: Ipv4Addr, pid: i32) -> Result<(), EngineError> {
        let name = self.link_name(address);
        self.kernel
            .add_link(&name, "eth0", pid.cast_unsigned())
            .await?;
        // Before the link comes up: a container may send to our loopback services (the filter decides to which), may not
        // pretend to be another, and has no IPv6 by which it would be our neighbour.
        set_sysctl(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
        set_sysctl(&format!("net/ipv4/conf/{name}/rp_filter"), "1")?;
        if std::fs::exists("/proc/sys/net/ipv6").unwrap_or(false) {
            set_sysctl(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")?;
        }
        self.kernel.route_link(&name, self.gateway(), address).await
    }

    pub(super) async fn disconnect(&self, address: Ipv4Addr) -> Result<(), EngineError> {
        self.kernel.remove_link(&self.link_name(address)).await
    }

    /// Removes our links that belong to none of the addresses `in_use`.
    pub(super) async fn sweep(&self, in_use: &HashSet<Ipv4Addr>) -> Result<(), EngineError> {
        forward::allow(&self.names).await?;
        let in_use: HashSet<String> = in_use
            .iter()
            .map(|address| self.link_name(*address))
            .collect();
        for name in self.kernel.link_names().await? {
            if name.starts_with(&self.names.link_prefix) && !in_use.contains(&name) {
                self.kernel.remove_link(&name).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn take_down(&self) -> Result<(), EngineError> {
        self.sweep(&HashSet::new()).await?;
        forward::forget(&self.names).await?;
        filter::remove(&self.names).await?;
        self.kernel
            .forget_unreachable(self.base, addresses::PREFIX)
            .await
    }

    fn link_name(&self, address: Ipv4Addr) -> String {
        format!(
            "{}{:03x}",
            self.names.link_prefix,
            address.to_bits().wrapping_sub(self.base.to_bits()) & 0xfff
        )
    }
}

fn set_sysctl(name: &str, value: &str) -> Result<(), EngineError> {
    let path = format!("/proc/sys/{name}");
    std::fs::write(&path, value).map_err(EngineError::io(format!("write {value} to {path}")))
}

fn netlink(tried: impl Into<String>) -> impl FnOnce(nlink::Error) -> EngineError {
    let tried = tried.into();
    move |error| EngineError::Io {
        tried,
        source: std::io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_between_engines_and_fit_the_kernel() {
        let (one, two) = (Names::of("slipway-one"), Names::of("slipway-two"));
        assert_ne!(one.table, two.table);
        assert_ne!(one.link_prefix, two.link_prefix);
        let network = Network {
            base: Ipv4Addr::new(10, 1, 16, 0),
            kernel: Kernel,
            names: one.clone(),
            platform_ports: Vec::new(),
            resolver: Mutex::default(),
            rounds: AtomicU32::new(0),
        };
        let last = network.link_name(Ipv4Addr::new(10, 1, 31, 254));
        assert!(last.ends_with("-ffe") && last.len() <= 15, "{last}");
        assert_eq!(one.table, Names::of("slipway-one").table);
    }
}
