//! The inside of the container's network: the loopback link, and one link to the host as the only way out.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::config::Network;
use crate::sys::Links;

/// What the second half of the set-up needs of the host's file tree, which is gone by then.
pub(crate) struct Prepared {
    /// Settings of IPv6 by interface, where the kernel has it.
    ipv6: Option<File>,
}

/// The half that needs no link to the host yet.
pub(crate) fn prepare() -> io::Result<Prepared> {
    Links::open()?.up("lo")?;
    // An own namespace has no privileged services to protect.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    Ok(Prepared {
        ipv6: File::open("/proc/sys/net/ipv6/conf").ok(),
    })
}

/// The half that comes after the engine has moved `network.interface` into this namespace.
pub(crate) fn connect(network: &Network, prepared: Prepared) -> io::Result<()> {
    let Network {
        interface,
        address,
        gateway,
    } = network;
    if let Some(settings) = &prepared.ipv6 {
        // The network is IPv4; a link-local neighbourhood would only be one more thing to guard.
        std::fs::write(
            format!(
                "/proc/self/fd/{}/{interface}/disable_ipv6",
                settings.as_raw_fd()
            ),
            "1",
        )?;
    }
    let links = Links::open()?;
    links.set_address(interface, *address)?;
    links.up(interface)?;
    // The gateway is no neighbour by any prefix, so it needs a route of its own before it can be one.
    links.add_route(interface, Some(*gateway), None)?;
    links.add_route(interface, None, Some(*gateway))
}
