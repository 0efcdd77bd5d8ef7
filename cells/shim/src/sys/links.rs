//! Network links, through the old ioctls: four calls are all it takes, and they need no netlink code here.

use std::ffi::{c_ulong, c_void};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use super::{c_string, check_int};

/// `struct rtentry`, which the libc crate lacks.
#[repr(C)]
struct RouteEntry {
    pad1: c_ulong,
    dst: libc::sockaddr,
    gateway: libc::sockaddr,
    genmask: libc::sockaddr,
    flags: libc::c_ushort,
    pad2: libc::c_short,
    pad3: c_ulong,
    pad4: *mut c_void,
    metric: libc::c_short,
    dev: *mut libc::c_char,
    mtu: c_ulong,
    window: c_ulong,
    irtt: libc::c_ushort,
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: all-zero is a valid `sockaddr`.
    let mut raw: libc::sockaddr = unsafe { std::mem::zeroed() };
    raw.sa_family = libc::AF_INET as libc::sa_family_t;
    // `sockaddr_in`: two bytes of port, then four of address.
    for (slot, octet) in raw.sa_data[2..6].iter_mut().zip(address.octets()) {
        *slot = octet.cast_signed() as libc::c_char;
    }
    raw
}

fn interface_request(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "interface name too long",
        ));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *slot = byte.cast_signed() as libc::c_char;
    }
    Ok(request)
}

/// Asks the kernel about links of the current network namespace.
pub(crate) struct Links(OwnedFd);

impl Links {
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: plain integers.
        let fd = check_int(unsafe {
            libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: a fresh descriptor.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn ioctl<T>(&self, request: c_ulong, argument: &mut T) -> io::Result<()> {
        // SAFETY: every request used here reads and writes the struct that its callers pass.
        check_int(unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, ptr::from_mut(argument)) })
            .map(drop)
    }

    pub(crate) fn up(&self, interface: &str) -> io::Result<()> {
        let mut request = interface_request(interface)?;
        self.ioctl(libc::SIOCGIFFLAGS as c_ulong, &mut request)?;
        // SAFETY: SIOCGIFFLAGS filled this member of the union.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        self.ioctl(libc::SIOCSIFFLAGS as c_ulong, &mut request)
    }

    /// Gives the link one address of its own, without a route to neighbours.
    pub(crate) fn set_address(&self, interface: &str, address: Ipv4Addr) -> io::Result<()> {
        let mut request = interface_request(interface)?;
        request.ifr_ifru.ifru_addr = socket_address(address);
        self.ioctl(libc::SIOCSIFADDR as c_ulong, &mut request)?;
        request.ifr_ifru.ifru_netmask = socket_address(Ipv4Addr::BROADCAST);
        self.ioctl(libc::SIOCSIFNETMASK as c_ulong, &mut request)
    }

    /// Adds a route to one host through the link, or the default route through `gateway`.
    pub(crate) fn add_route(
        &self,
        interface: &str,
        to: Option<Ipv4Addr>,
        gateway: Option<Ipv4Addr>,
    ) -> io::Result<()> {
        const SIOCADDRT: c_ulong = 0x890B;
        const RTF_UP: libc::c_ushort = 1;
        const RTF_GATEWAY: libc::c_ushort = 2;
        const RTF_HOST: libc::c_ushort = 4;
        let device = c_string(interface)?;
        // SAFETY: all-zero is a valid `rtentry`.
        let mut route: RouteEntry = unsafe { std::mem::zeroed() };
        route.dst = socket_address(to.unwrap_or(Ipv4Addr::UNSPECIFIED));
        route.genmask = socket_address(if to.is_some() {
            Ipv4Addr::BROADCAST
        } else {
            Ipv4Addr::UNSPECIFIED
        });
        route.gateway = socket_address(gateway.unwrap_or(Ipv4Addr::UNSPECIFIED));
        let host = if to.is_some() { RTF_HOST } else { 0 };
        route.flags = RTF_UP | host | if gateway.is_some() { RTF_GATEWAY } else { 0 };
        route.dev = device.as_ptr().cast_mut();
        self.ioctl(SIOCADDRT, &mut route)
    }
}
