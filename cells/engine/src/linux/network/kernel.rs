//! Links and routes of the host through `nlink`.

use std::net::Ipv4Addr;

use nlink::netlink::addr::Ipv4Address;
use nlink::netlink::link::VethLink;
use nlink::netlink::route::Ipv4Route;
use nlink::netlink::types::route::{RouteScope, RouteType};
use nlink::netlink::{Connection, Route};

use super::{Host, netlink};
use crate::EngineError;

/// Lower than any other route to the pool would have.
const LAST_RESORT: u32 = 1_000_000;

/// The kernel of this host. A connection is made for each piece of work: it costs microseconds, and it is that of the
/// caller's network namespace.
#[derive(Debug)]
pub(super) struct Kernel;

fn open() -> Result<Connection<Route>, EngineError> {
    Connection::<Route>::new().map_err(netlink("open a netlink socket"))
}

impl Host for Kernel {
    async fn add_link(&self, name: &str, peer: &str, pid: u32) -> Result<(), EngineError> {
        let kernel = open()?;
        let link = || VethLink::new(name, peer).peer_netns_pid(pid);
        let made = match kernel.add_link(link()).await {
            // The one before was not taken away, because its engine was killed.
            Err(error) if error.is_already_exists() => {
                self.remove_link(name).await?;
                kernel.add_link(link()).await
            }
            other => other,
        };
        made.map_err(netlink(format!("make link {name}")))
    }

    async fn route_link(&self, name: &str, own: Ipv4Addr, to: Ipv4Addr) -> Result<(), EngineError> {
        let kernel = open()?;
        let address = Ipv4Address::new(name, own, 32);
        kernel
            .add_address(address)
            .await
            .map_err(netlink(format!("give {name} its address")))?;
        kernel
            .set_link_up(name)
            .await
            .map_err(netlink(format!("bring {name} up")))?;
        let route = Ipv4Route::from_addr(to, 32)
            .dev(name)
            .prefsrc(own)
            .scope(RouteScope::Link);
        kernel
            .replace_route(route)
            .await
            .map_err(netlink(format!("route {to} through {name}")))
    }

    async fn remove_link(&self, name: &str) -> Result<(), EngineError> {
        open()?
            .del_link_if_exists(name)
            .await
            .map(drop)
            .map_err(netlink(format!("remove link {name}")))
    }

    async fn link_names(&self) -> Result<Vec<String>, EngineError> {
        let kernel = open()?;
        let links = listed!("list the host's links", kernel.get_links())?;
        Ok(links
            .iter()
            .filter_map(|link| link.name().map(str::to_owned))
            .collect())
    }

    async fn make_unreachable(&self, base: Ipv4Addr, prefix: u8) -> Result<(), EngineError> {
        let failed = netlink(format!("make {base}/{prefix} unreachable"));
        open()?
            .replace_route(unreachable(base, prefix))
            .await
            .map_err(failed)
    }

    async fn forget_unreachable(&self, base: Ipv4Addr, prefix: u8) -> Result<(), EngineError> {
        let failed = netlink(format!("remove the route of {base}/{prefix}"));
        open()?
            .del_route_if_exists(unreachable(base, prefix))
            .await
            .map(drop)
            .map_err(failed)
    }
}

fn unreachable(base: Ipv4Addr, prefix: u8) -> Ipv4Route {
    Ipv4Route::from_addr(base, prefix)
        .route_type(RouteType::Unreachable)
        .metric(LAST_RESORT)
}
