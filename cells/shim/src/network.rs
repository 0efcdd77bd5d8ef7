//! The inside of the container's network: the loopback link, and one link to the host as the only way out.

use std::io;

use crate::config::Network;
use crate::sys::Links;

/// Configures the links of the current namespace. The engine has moved `network.interface` here before.
pub(crate) fn set_up(network: Option<&Network>) -> io::Result<()> {
    let links = Links::open()?;
    links.up("lo")?;
    if let Some(Network {
        interface,
        address,
        gateway,
    }) = network
    {
        // The network is IPv4; a link-local neighbourhood would only be one more thing to guard.
        let ipv6 = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
        if std::fs::exists(&ipv6)? {
            std::fs::write(ipv6, "1")?;
        }
        links.set_address(interface, *address)?;
        links.up(interface)?;
        // The gateway is no neighbour by any prefix, so it needs a route of its own before it can be one.
        links.add_route(interface, Some(*gateway), None)?;
        links.add_route(interface, None, Some(*gateway))?;
    }
    // An own namespace has no privileged services to protect.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
}
