//! Addresses, ports and links that are not the container's business.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::mem::zeroed;
use std::net::{
    Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, ToSocketAddrs as _,
    UdpSocket,
};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Context;
use super::sys::{at, call};
use super::verdict::{
    Attempt, Contained, Escaped, Refused, Verdict, attempt, forbidden, forbidden_or, text,
};

const PATIENCE: Duration = Duration::from_millis(600);
const HOST: &str = "host.slipway.internal";

pub(crate) fn attempts(context: &Context) -> Vec<Attempt> {
    let mut all = platform(context);
    all.extend(metadata());
    all.extend(neighbours(context));
    all.extend(sockets(context));
    all.extend(links(context));
    all
}

pub(crate) fn gateway() -> Ipv4Addr {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let field = routes.lines().find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        (fields.get(1) == Some(&"00000000")).then(|| fields[2].to_owned())
    });
    field
        .and_then(|hex| u32::from_str_radix(&hex, 16).ok())
        .map_or(Ipv4Addr::UNSPECIFIED, |bits| {
            Ipv4Addr::from(bits.swap_bytes())
        })
}

/// Whether anything accepts a connection there.
fn reach(address: SocketAddr) -> Verdict {
    match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(_) => Escaped(format!("{address} accepts")),
        Err(error) => Refused(text(&error)),
    }
}

fn platform(context: &Context) -> Vec<Attempt> {
    let front = context.number("front") as u16;
    let admin = context.number("admin") as u16;
    let domain = context.text("domain");
    vec![
        attempt("the front port by the gateway's address", move || {
            reach((gateway(), front).into())
        }),
        attempt("the front port by the host's name", move || {
            let found = (HOST, front)
                .to_socket_addrs()
                .ok()
                .and_then(|mut found| found.next());
            found.map_or_else(|| Escaped("not tried: the name is unknown".into()), reach)
        }),
        attempt("the front port by a name of the API", move || {
            let request =
                format!("GET /v3/info HTTP/1.1\r\nHost: api.{domain}\r\nConnection: close\r\n\r\n");
            let answer = TcpStream::connect_timeout(&(gateway(), front).into(), PATIENCE).and_then(
                |mut stream| {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.write_all(request.as_bytes())?;
                    let mut text = String::new();
                    stream.read_to_string(&mut text)?;
                    Ok(text)
                },
            );
            answer.map_or_else(|error| Refused(text(&error)), Escaped)
        }),
        attempt("the admin port", move || reach((gateway(), admin).into())),
        attempt(
            "the front port by an address of IPv6 that means IPv4",
            move || reach(SocketAddr::new(gateway().to_ipv6_mapped().into(), front)),
        ),
        attempt("the front port from a low port of its own", move || {
            // Bound by hand, as the standard library binds no port for a connection.
            let fd = call(
                libc::SYS_socket,
                &[libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0],
            );
            let connected = fd.and_then(|fd| {
                let own = socket_address(Ipv4Addr::UNSPECIFIED, 22);
                call(libc::SYS_bind, &[fd, at(&own), 16])?;
                let patience = [1_u64, 0];
                call(
                    libc::SYS_setsockopt,
                    &[
                        fd,
                        libc::SOL_SOCKET as usize,
                        libc::SO_SNDTIMEO as usize,
                        at(&patience),
                        16,
                    ],
                )?;
                let there = socket_address(gateway(), front);
                call(libc::SYS_connect, &[fd, at(&there), 16])
            });
            connected.map_or_else(
                |error| Refused(text(&error)),
                |_| Escaped("it accepts".into()),
            )
        }),
        attempt(
            "listen on the platform's own port number",
            move || match TcpListener::bind((Ipv4Addr::UNSPECIFIED, front)) {
                Ok(_) => Contained("its own network has room for it".into()),
                Err(error) => Refused(text(&error)),
            },
        ),
        attempt("the host's loopback network by its address", move || {
            reach((Ipv4Addr::new(127, 0, 0, 1), front).into())
        }),
        attempt("the host's loopback network past the own one", move || {
            let fd = call(
                libc::SYS_socket,
                &[libc::AF_INET as usize, libc::SOCK_STREAM as usize, 0],
            );
            let connected = fd.and_then(|fd| {
                call(
                    libc::SYS_setsockopt,
                    &[
                        fd,
                        libc::SOL_SOCKET as usize,
                        libc::SO_BINDTODEVICE as usize,
                        at(c"eth0"),
                        4,
                    ],
                )?;
                let patience = [1_u64, 0];
                call(
                    libc::SYS_setsockopt,
                    &[
                        fd,
                        libc::SOL_SOCKET as usize,
                        libc::SO_SNDTIMEO as usize,
                        at(&patience),
                        16,
                    ],
                )?;
                call(
                    libc::SYS_connect,
                    &[
                        fd,
                        at(&socket_address(Ipv4Addr::new(127, 0, 0, 2), front)),
                        16,
                    ],
                )
            });
            connected.map_or_else(
                |error| Refused(text(&error)),
                |_| Escaped("it accepts".into()),
            )
        }),
    ]
}

/// What the name resolves to decides, not the name: an app's own DNS may say anything.
fn metadata() -> Vec<Attempt> {
    let mut all: Vec<Attempt> = [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.0.1",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
    ]
    .into_iter()
    .map(|address| {
        attempt(format!("the metadata service at {address}"), move || {
            address.parse::<Ipv4Addr>().map_or_else(
                |_| Escaped("not tried".into()),
                |address| reach((address, 80).into()),
            )
        })
    })
    .collect();
    for address in [
        "fd00:ec2::254",
        "fe80::a9fe:a9fe",
        "fe80::1",
        "ff02::1",
        "2001:db8::1",
    ] {
        all.push(attempt(
            format!("a way round by IPv6, {address}"),
            move || {
                let Ok(address) = address.parse::<Ipv6Addr>() else {
                    return Escaped("not tried".into());
                };
                // 2 is the first link after loopback.
                reach(SocketAddrV6::new(address, 80, 0, 2).into())
            },
        ));
    }
    all.push(attempt("an address of IPv6 on its link", || {
        let known = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        let other = known.lines().find(|line| !line.ends_with(" lo"));
        other.map_or_else(
            || Contained("there is none".into()),
            |line| Escaped(line.to_owned()),
        )
    }));
    all
}

fn neighbours(context: &Context) -> Vec<Attempt> {
    let Ok(victim) = context.text("victim").parse::<Ipv4Addr>() else {
        return Vec::new();
    };
    let mut all: Vec<Attempt> = [8080_u16, 22, 2222, 61_001]
        .into_iter()
        .map(|port| {
            attempt(format!("a neighbour's port {port}"), move || {
                reach((victim, port).into())
            })
        })
        .collect();
    all.extend([
        attempt("bind a neighbour's address", move || {
            forbidden_or(UdpSocket::bind((victim, 0)), &[libc::EADDRNOTAVAIL])
        }),
        attempt("send in a neighbour's name", move || {
            let fd = call(
                libc::SYS_socket,
                &[libc::AF_INET as usize, libc::SOCK_DGRAM as usize, 0],
            );
            let sent = fd.and_then(|fd| {
                call(
                    libc::SYS_setsockopt,
                    &[
                        fd,
                        libc::IPPROTO_IP as usize,
                        libc::IP_FREEBIND as usize,
                        at(&1_u32),
                        4,
                    ],
                )?;
                call(libc::SYS_bind, &[fd, at(&socket_address(victim, 4000)), 16])?;
                call(
                    libc::SYS_sendto,
                    &[fd, at(c"x"), 1, 0, at(&socket_address(gateway(), 53)), 16],
                )
            });
            forbidden_or(sent, &[libc::EINVAL, libc::ENETUNREACH])
        }),
        attempt("pose as a transparent proxy", || {
            let fd = call(
                libc::SYS_socket,
                &[libc::AF_INET as usize, libc::SOCK_DGRAM as usize, 0],
            );
            forbidden(fd.and_then(|fd| {
                call(
                    libc::SYS_setsockopt,
                    &[
                        fd,
                        libc::IPPROTO_IP as usize,
                        libc::IP_TRANSPARENT as usize,
                        at(&1_u32),
                        4,
                    ],
                )
            }))
        }),
        attempt("a neighbour by broadcast and multicast", move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
            let sent = socket.and_then(|socket| {
                socket.set_broadcast(true)?;
                socket.send_to(b"x", (Ipv4Addr::BROADCAST, 8080))?;
                socket.send_to(b"x", (Ipv4Addr::new(224, 0, 0, 1), 8080))
            });
            sent.map_or_else(
                |error| Refused(text(&error)),
                |_| Contained("the link ends at the host, which forwards none".into()),
            )
        }),
        attempt("sweep the pool of addresses", move || {
            let base = victim.to_bits() & !0xff;
            let sockets =
                (2..40_u32).map(|low| SocketAddr::from((Ipv4Addr::from_bits(base + low), 8080)));
            let own = fs::read_to_string("/etc/hosts").unwrap_or_default();
            for address in sockets {
                if own.contains(&format!("{}\t", address.ip())) {
                    continue;
                }
                if TcpStream::connect_timeout(&address, Duration::from_millis(40)).is_ok() {
                    return Escaped(address.to_string());
                }
            }
            Refused("38 addresses, nobody answers".into())
        }),
    ]);
    all
}

fn sockets(context: &Context) -> Vec<Attempt> {
    let name = context.text("abstract");
    let data = context.text("data");
    let mut all = vec![attempt("an abstract socket of the host", move || {
        use std::os::linux::net::SocketAddrExt as _;
        let connected = std::os::unix::net::SocketAddr::from_abstract_name(name.as_bytes())
            .and_then(|address| UnixStream::connect_addr(&address));
        connected.map_or_else(
            |error| Refused(text(&error)),
            |_| Escaped("it accepts".into()),
        )
    })];
    for path in [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/containerd/containerd.sock",
        "/run/dbus/system_bus_socket",
        "/run/systemd/private",
    ] {
        all.push(attempt(format!("the socket {path}"), move || {
            UnixStream::connect(path).map_or_else(
                |error| Refused(text(&error)),
                |_| Escaped("it accepts".into()),
            )
        }));
    }
    for path in ["run/server.sock", "run/internal.sock", "run/admin.sock"] {
        let full = format!("{data}/{path}");
        all.push(attempt(
            format!("the platform's socket {path}"),
            move || {
                UnixStream::connect(full).map_or_else(
                    |error| Refused(text(&error)),
                    |_| Escaped("it accepts".into()),
                )
            },
        ));
    }
    for (what, family, kind, protocol) in [
        (
            "raw socket",
            libc::AF_INET,
            libc::SOCK_RAW,
            libc::IPPROTO_ICMP,
        ),
        (
            "raw socket of IPv6",
            libc::AF_INET6,
            libc::SOCK_RAW,
            libc::IPPROTO_ICMPV6,
        ),
        (
            "packet socket for forged ARP",
            libc::AF_PACKET,
            libc::SOCK_RAW,
            0x0608,
        ),
        (
            "packet socket that listens to all",
            libc::AF_PACKET,
            libc::SOCK_DGRAM,
            0x0300,
        ),
        (
            "socket to the hypervisor",
            libc::AF_VSOCK,
            libc::SOCK_STREAM,
            0,
        ),
    ] {
        all.push(attempt(format!("a {what}"), move || {
            forbidden(call(
                libc::SYS_socket,
                &[family as usize, kind as usize, protocol as usize],
            ))
        }));
    }
    all
}

fn links(context: &Context) -> Vec<Attempt> {
    let victim = context
        .text("victim")
        .parse::<Ipv4Addr>()
        .unwrap_or(Ipv4Addr::new(10, 1, 2, 3));
    let ioctl = |request: u64, fill: fn(&mut libc::ifreq, Ipv4Addr)| {
        move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
            forbidden(socket.and_then(|socket| {
                let mut asked = interface();
                fill(&mut asked, victim);
                call(
                    libc::SYS_ioctl,
                    &[
                        socket.as_raw_fd() as usize,
                        request as usize,
                        std::ptr::from_mut(&mut asked) as usize,
                    ],
                )
            }))
        }
    };
    vec![
        attempt(
            "take a neighbour's address",
            ioctl(libc::SIOCSIFADDR, |asked, victim| {
                asked.ifr_ifru.ifru_addr = plain(socket_address(victim, 0))
            }),
        ),
        attempt(
            "change its hardware address",
            ioctl(libc::SIOCSIFHWADDR, |_, _| {}),
        ),
        attempt(
            "listen to all on its link",
            ioctl(libc::SIOCSIFFLAGS, |asked, _| {
                asked.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_PROMISC) as i16
            }),
        ),
        attempt(
            "add an entry to the table of neighbours",
            ioctl(0x8955, |_, _| {}),
        ),
        attempt("make a link", || {
            forbidden(netlink(libc::NETLINK_ROUTE, 16, 0x600, 16))
        }),
        attempt("add an address by netlink", || {
            forbidden(netlink(libc::NETLINK_ROUTE, 20, 0x600, 8))
        }),
        attempt("add a route by netlink", || {
            forbidden(netlink(libc::NETLINK_ROUTE, 24, 0x600, 12))
        }),
        attempt("add a rule to the packet filter", || {
            forbidden(netlink(libc::NETLINK_NETFILTER, 10 << 8, 0x400, 4))
        }),
        attempt("take entries off connection tracking", || {
            forbidden(netlink(libc::NETLINK_NETFILTER, (1 << 8) | 2, 0, 4))
        }),
        attempt("mark its packets", || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
            forbidden(socket.and_then(|socket| {
                call(
                    libc::SYS_setsockopt,
                    &[
                        socket.as_raw_fd() as usize,
                        libc::SOL_SOCKET as usize,
                        libc::SO_MARK as usize,
                        at(&1_u32),
                        4,
                    ],
                )
            }))
        }),
        attempt("grow its buffers beyond the limit", || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
            forbidden(socket.and_then(|socket| {
                call(
                    libc::SYS_setsockopt,
                    &[
                        socket.as_raw_fd() as usize,
                        libc::SOL_SOCKET as usize,
                        libc::SO_RCVBUFFORCE as usize,
                        at(&(1_u32 << 30)),
                        4,
                    ],
                )
            }))
        }),
    ]
}

fn socket_address(address: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    }
}

#[allow(unsafe_code, reason = "the kernel's old structs overlay one another")]
fn plain(address: libc::sockaddr_in) -> libc::sockaddr {
    // SAFETY: both are plain data of 16 bytes.
    unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address) }
}

#[allow(
    unsafe_code,
    reason = "the kernel's old struct has no other start value"
)]
fn interface() -> libc::ifreq {
    // SAFETY: all-zero is a valid `ifreq`.
    let mut asked: libc::ifreq = unsafe { zeroed() };
    for (slot, byte) in asked.ifr_name.iter_mut().zip(b"eth0") {
        *slot = byte.cast_signed();
    }
    asked
}

/// Sends one empty request and returns the kernel's answer to it.
fn netlink(protocol: i32, kind: u16, flags: u16, body: usize) -> io::Result<()> {
    let fd = call(
        libc::SYS_socket,
        &[
            libc::AF_NETLINK as usize,
            libc::SOCK_RAW as usize,
            protocol as usize,
        ],
    )?;
    let mut message = vec![0_u8; 16 + body];
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    // A request that is to be answered.
    message[6..8].copy_from_slice(&(5 | flags).to_ne_bytes());
    call(
        libc::SYS_sendto,
        &[fd, message.as_ptr() as usize, message.len(), 0, 0, 0],
    )?;
    let mut answer = [0_u8; 1024];
    let got = call(
        libc::SYS_recvfrom,
        &[fd, std::ptr::from_mut(&mut answer) as usize, 1024, 0, 0, 0],
    )?;
    if got < 20 || answer[4..6] != 2_u16.to_ne_bytes() {
        return Ok(());
    }
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}
