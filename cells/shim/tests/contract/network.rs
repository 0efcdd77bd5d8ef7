//! What the network of containers lets through, and what not.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};

use cells_engine::linux::LinuxEngine;
use cells_engine::{Container, Engine};
use nlink::netlink::addr::Ipv4Address;
use nlink::netlink::link::VethLink;
use nlink::netlink::nftables::{
    BaseChain, Chain, Family, FilterHook, NatHook, Policy, Priority, Rule,
};
use nlink::netlink::route::Ipv4Route;
use nlink::netlink::{Connection, Nftables, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bed::{
    self, Bed, IN_VAIN, PATIENTLY, PLATFORM_PORT, address_v4, ask_script, eventually,
    listen_script, within,
};

/// Greets whoever connects, on this thread's network.
async fn serve(address: SocketAddr) -> tokio::task::JoinHandle<()> {
    let listener = TcpListener::bind(address)
        .await
        .unwrap_or_else(|error| panic!("{address}: {error}"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"hello\n").await;
        }
    })
}

async fn greeting(address: SocketAddr) -> std::io::Result<String> {
    let mut text = String::new();
    let mut stream = TcpStream::connect(address).await?;
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[test]
fn the_host_reaches_an_app_and_gets_an_error_at_once_when_it_is_gone() {
    bed::linux(async |bed| {
        let container = bed
            .start(bed.spec("a", &listen_script("0.0.0.0", 8080)))
            .await;
        bed.until_written("a", "listening").await;
        let address = SocketAddr::new(container.address(), container.port());
        assert_eq!(greeting(address).await.expect("answers"), "hello\n");
        container.remove().await.expect("removed");
        let refused = within(greeting(address))
            .await
            .expect_err("nobody is there");
        assert_eq!(refused.kind(), std::io::ErrorKind::HostUnreachable);
    });
}

#[test]
fn containers_do_not_reach_each_other() {
    bed::linux(async |bed| {
        let server = bed
            .start(bed.spec("server", &listen_script("0.0.0.0", 8080)))
            .await;
        bed.until_written("server", "listening").await;
        let (_, output) = bed
            .run(
                "client",
                &ask_script(&server.address().to_string(), 8080, IN_VAIN),
            )
            .await;
        assert_eq!(output, "no answer\n");
    });
}

#[test]
fn services_of_the_host_are_reached_by_name_but_not_the_platform() {
    bed::linux(async |bed| {
        let gateway = gateway_of(&bed).await;
        let own = tokio::join!(
            serve((Ipv4Addr::LOCALHOST, 27_017).into()),
            serve((Ipv4Addr::UNSPECIFIED, 5432).into()),
            serve((Ipv4Addr::UNSPECIFIED, PLATFORM_PORT).into()),
        );
        let ask = |host: &str, port, seconds| {
            let ask = ask_script(host, port, seconds);
            format!("echo {host} {port} $({ask})\n")
        };
        let name = "host.slipway.internal";
        let script = [
            ask(name, 27_017, PATIENTLY),
            ask(name, 5432, PATIENTLY),
            ask(name, PLATFORM_PORT, IN_VAIN),
            ask(&gateway.to_string(), PLATFORM_PORT, IN_VAIN),
        ]
        .concat();
        let (_, output) = bed.run("client", &script).await;
        let want = format!(
            "{name} 27017 hello\n{name} 5432 hello\n{name} {PLATFORM_PORT} no answer\n{gateway} {PLATFORM_PORT} no answer\n"
        );
        assert_eq!(output, want);
        // Without the filter there would be an answer: the platform's port is open on this very address.
        assert_eq!(
            greeting((Ipv4Addr::LOCALHOST, PLATFORM_PORT).into())
                .await
                .expect("answers"),
            "hello\n"
        );
        own.0.abort();
    });
}

async fn gateway_of<E: Engine>(bed: &Bed<E>) -> Ipv4Addr {
    let (_, hosts) = bed
        .run("hosts", "grep host.slipway.internal /etc/hosts")
        .await;
    hosts
        .split_ascii_whitespace()
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{hosts}"))
}

#[test]
fn link_local_and_metadata_addresses_are_out_of_reach() {
    bed::linux(async |bed| {
        // As a cloud's metadata service would be: on this network, answering on its address.
        let kernel = Connection::<Route>::new().expect("netlink");
        for metadata in ["169.254.169.254", "100.100.100.200", "168.63.129.16"] {
            let address: Ipv4Addr = metadata.parse().expect("address");
            kernel
                .add_address(Ipv4Address::new("lo", address, 32))
                .await
                .expect("address");
            let own = serve((address, 80).into()).await;
            assert_eq!(
                greeting((address, 80).into())
                    .await
                    .expect("the host gets an answer"),
                "hello\n"
            );
            let client = metadata.replace('.', "-");
            let (_, output) = bed.run(&client, &ask_script(metadata, 80, IN_VAIN)).await;
            assert_eq!(output, "no answer\n", "{metadata}");
            own.abort();
        }
    });
}

#[test]
fn the_walls_stand_again_when_somebody_has_flushed_all_tables() {
    bed::linux(async |bed| {
        let server = bed
            .start(bed.spec("server", &listen_script("0.0.0.0", 8080)))
            .await;
        bed.until_written("server", "listening").await;
        let kernel = Connection::<Nftables>::new().expect("netlink");
        let tables = kernel.list_tables_in(Family::Ip).await.expect("tables");
        assert!(!tables.is_empty());
        for table in tables {
            kernel
                .del_table_if_exists(table.name.as_str(), Family::Ip)
                .await
                .expect("deleted");
        }
        let (_, output) = bed
            .run(
                "client",
                &ask_script(&server.address().to_string(), 8080, IN_VAIN),
            )
            .await;
        assert_eq!(output, "no answer\n");
    });
}

#[test]
fn the_walls_of_running_containers_are_put_back() {
    bed::linux(async |bed| {
        bed.start(bed.spec("a", "sleep 1000")).await;
        assert!(
            !bed.engine.restore().await.expect("looks"),
            "nothing is missing"
        );
        let kernel = Connection::<Nftables>::new().expect("netlink");
        let table = kernel.list_tables_in(Family::Ip).await.expect("tables");
        let table = table.first().expect("ours").name.clone();
        let rules = async || {
            let rules = kernel.list_rules(&table, Family::Ip).await;
            rules.expect("rules").len()
        };
        let whole = rules().await;
        // A table that was emptied stands there and keeps nobody out.
        kernel
            .flush_table(table.as_str(), Family::Ip)
            .await
            .expect("flushed");
        assert_eq!(rules().await, 0);
        assert!(bed.engine.restore().await.expect("restores"));
        assert_eq!(rules().await, whole);
        kernel
            .del_table(table.as_str(), Family::Ip)
            .await
            .expect("deleted");
        assert!(bed.engine.restore().await.expect("restores"));
        assert_eq!(rules().await, whole);
        assert!(!bed.engine.restore().await.expect("looks"));
    });
}

#[test]
fn a_host_that_gets_its_name_server_late_gives_it_to_containers_too() {
    bed::linux(async |bed| {
        crate::linux::enter_new_mounts();
        let (host, kernel) = (bed.dir("resolv.conf"), Connection::<Nftables>::new());
        let kernel = kernel.expect("netlink");
        std::fs::write(&host, "nameserver 192.0.2.1\n").expect("a file");
        let bound = std::process::Command::new("mount")
            .args(["--bind", &host.display().to_string(), "/etc/resolv.conf"])
            .status();
        assert!(bound.expect("mount runs").success());
        let table = kernel.list_tables_in(Family::Ip).await.expect("tables");
        let table = table.first().expect("ours").name.clone();
        let rules = async || {
            let rules = kernel.list_rules(&table, Family::Ip).await;
            rules.expect("rules").len()
        };
        bed.engine.restore().await.expect("looks");
        let without = rules().await;
        // Only the host may reach this one, so the host's gateway answers for it: by UDP and by TCP.
        std::fs::write(&host, "nameserver 169.254.1.1\n").expect("a file");
        assert!(
            !bed.engine.restore().await.expect("looks"),
            "nobody took rules away"
        );
        assert_eq!(rules().await, without + 2);
        std::fs::write(&host, "nameserver 192.0.2.1\n").expect("a file");
        bed.start(bed.spec("a", "sleep 1000")).await;
        assert_eq!(rules().await, without);
    });
}

/// Runs a case beside a network that has a server at `outside`, and no route back to any container. The host has the address
/// `inside` there, and calls its link `link`.
fn beside_a_world(
    link: &'static str,
    inside: Ipv4Addr,
    outside: Ipv4Addr,
    case: impl AsyncFnOnce(Bed<LinuxEngine>) + Send,
) {
    let (tell_thread, thread_id) = mpsc::channel();
    let (tell_end, end) = tokio::sync::oneshot::channel::<()>();
    let (tell_ready, ready) = tokio::sync::oneshot::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            bed::in_own_network(async move || {
                tell_thread.send(thread_of_this_network()).expect("heard");
                let kernel = Connection::<Route>::new().expect("netlink");
                eventually(async || match kernel.get_link_by_name("world").await {
                    Ok(Some(_)) => Ok(()),
                    other => Err(format!("{other:?}")),
                })
                .await;
                kernel
                    .add_address(Ipv4Address::new("world", outside, 24))
                    .await
                    .expect("address");
                kernel.set_link_up("world").await.expect("up");
                let server = serve((outside, 80).into()).await;
                tell_ready.send(()).expect("heard");
                let _ = end.await;
                server.abort();
            });
        });
        bed::linux(async move |bed| {
            let world = thread_id.recv().expect("told");
            let kernel = Connection::<Route>::new().expect("netlink");
            kernel
                .add_link(VethLink::new(link, "world").peer_netns_pid(world))
                .await
                .expect("link");
            kernel
                .add_address(Ipv4Address::new(link, inside, 24))
                .await
                .expect("address");
            kernel.set_link_up(link).await.expect("up");
            within(ready).await.expect("the world is there");
            case(bed).await;
            tell_end.send(()).expect("heard");
        });
    });
}

#[test]
fn egress_works_where_docker_drops_what_is_forwarded() {
    let outside = Ipv4Addr::new(198, 51, 100, 7);
    let inside = Ipv4Addr::new(198, 51, 100, 1);
    beside_a_world("uplink", inside, outside, async move |bed| {
        let kernel = Connection::<Route>::new().expect("netlink");
        kernel
            .add_route(Ipv4Route::default_route().gateway(outside))
            .await
            .expect("default route");
        let ask = ask_script(&outside.to_string(), 80, PATIENTLY);
        assert_eq!(bed.run("before", &ask).await.1, "hello\n");

        // What a Docker daemon does when it starts, here after the engine.
        let firewall = Connection::<Nftables>::new().expect("netlink");
        firewall
            .add_table("filter", Family::Ip)
            .await
            .expect("table");
        let base = BaseChain::filter(FilterHook::Forward, Priority::Filter).policy(Policy::Drop);
        let chain = Chain::new("filter", "FORWARD")
            .expect("name")
            .family(Family::Ip)
            .base(base);
        firewall.add_chain(chain).await.expect("chain");
        let rules = async || {
            let rules = firewall.list_rules("filter", Family::Ip).await;
            rules.expect("rules").len()
        };
        assert_eq!(bed.run("after", &ask).await.1, "hello\n");
        assert_eq!(rules().await, 2);
        bed.run("again", "true").await;
        assert_eq!(rules().await, 2, "added once");

        bed.engine.uninstall().await.expect("uninstalls");
        assert_eq!(rules().await, 0, "taken out again");
        firewall
            .del_table("filter", Family::Ip)
            .await
            .expect("deleted");
        // The bed uninstalls once more, which must not mind.
    });
}

#[test]
fn containers_of_others_are_reached_only_by_what_they_publish() {
    let outside = Ipv4Addr::new(172, 17, 0, 2);
    let inside = Ipv4Addr::new(172, 17, 0, 1);
    for (link, want, seconds) in [
        ("docker0", "no answer\n", IN_VAIN),
        ("br-0123456789ab", "no answer\n", IN_VAIN),
        // As a host may call its own way out.
        ("br-lan", "hello\n", PATIENTLY),
    ] {
        beside_a_world(link, inside, outside, async move |bed| {
            let greeted = greeting((outside, 80).into()).await;
            assert_eq!(greeted.expect("the host gets an answer"), "hello\n");
            let (_, output) = bed
                .run("direct", &ask_script(&outside.to_string(), 80, seconds))
                .await;
            assert_eq!(output, want, "{link}");

            let firewall = Connection::<Nftables>::new().expect("netlink");
            firewall
                .add_table("others", Family::Ip)
                .await
                .expect("table");
            let chain = Chain::new("others", "published")
                .expect("name")
                .family(Family::Ip)
                .base(BaseChain::nat(NatHook::Prerouting, Priority::DstNat));
            firewall.add_chain(chain).await.expect("chain");
            let publish = Rule::new("others", "published")
                .family(Family::Ip)
                .match_daddr_v4(inside, 32)
                .match_l4proto(6)
                .match_tcp_dport(5432)
                .dnat(outside, Some(80));
            firewall.add_rule(publish).await.expect("rule");
            let (_, output) = bed
                .run(
                    "published",
                    &ask_script(&inside.to_string(), 5432, PATIENTLY),
                )
                .await;
            assert_eq!(output, "hello\n", "{link}");
            firewall
                .del_table("others", Family::Ip)
                .await
                .expect("deleted");
        });
    }
}

#[test]
fn a_container_at_its_bound_of_connections_leaves_the_host_and_its_neighbours_theirs() {
    bed::linux(async |bed| {
        let gateway = gateway_of(&bed).await;
        let _service = serve((Ipv4Addr::UNSPECIFIED, 9000).into()).await;
        let figure = |name: &str| -> u32 {
            let text = std::fs::read_to_string(format!("/proc/sys/net/netfilter/{name}"));
            let text = text.expect("connections are tracked");
            text.trim().parse().expect("a number")
        };
        let most = (figure("nf_conntrack_max") / 8).min(16_384);
        let last = 10_000 + (most + most / 2).min(50_000);
        // All from one port, as one would who wants to fill what others are counted with.
        let script = format!(
            "exec perl -MSocket -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(Proto => \"udp\", \
             LocalPort => 20000) or die \"socket: $!\"; for my $port (10001..{last}) {{ send $s, \"x\", 0, \
             sockaddr_in($port, inet_aton(\"{gateway}\")) }} print \"sent\\n\"'"
        );
        assert_eq!(bed.run("greedy", &script).await.1, "sent\n");
        let count = figure("nf_conntrack_count");
        assert!(count <= most + 100, "{count} of {most}");

        let ask = ask_script(&gateway.to_string(), 9000, PATIENTLY);
        let script = format!("for turn in $(seq 40); do {ask}; done");
        let (_, output) = bed.run("neighbour", &script).await;
        assert_eq!(output, "hello\n".repeat(40));
    });
}

#[allow(
    unsafe_code,
    reason = "the standard library does not tell a thread's id"
)]
fn thread_of_this_network() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::gettid() }.cast_unsigned()
}

#[test]
fn nothing_new_reaches_a_container_from_outside_the_host() {
    bed::linux(async |bed| {
        let container = bed
            .start(bed.spec("a", &listen_script("0.0.0.0", 8080)))
            .await;
        bed.until_written("a", "listening").await;
        let app = SocketAddr::new(container.address(), 8080);
        // A neighbour of the host that knows the way.
        let (tell_thread, thread_id) = mpsc::channel();
        let (tell_ready, ready) = tokio::sync::oneshot::channel::<()>();
        let neighbour = std::thread::spawn(move || {
            bed::in_own_network(async move || {
                tell_thread.send(thread_of_this_network()).expect("heard");
                ready.await.expect("told");
                let kernel = Connection::<Route>::new().expect("netlink");
                kernel
                    .add_address(Ipv4Address::new("lan", Ipv4Addr::new(198, 51, 100, 9), 24))
                    .await
                    .expect("address");
                kernel.set_link_up("lan").await.expect("up");
                let host = Ipv4Addr::new(198, 51, 100, 1);
                kernel
                    .add_route(Ipv4Route::default_route().gateway(host))
                    .await
                    .expect("route");
                let on_host = eventually(async || {
                    greeting((host, 9000).into())
                        .await
                        .map_err(|error| error.to_string())
                })
                .await;
                let app =
                    tokio::time::timeout(std::time::Duration::from_secs(2), greeting(app)).await;
                (on_host, app.is_ok_and(|answer| answer.is_ok()))
            })
        });
        let kernel = Connection::<Route>::new().expect("netlink");
        let peer = thread_id.recv().expect("told");
        kernel
            .add_link(VethLink::new("lan0", "lan").peer_netns_pid(peer))
            .await
            .expect("link");
        kernel
            .add_address(Ipv4Address::new("lan0", Ipv4Addr::new(198, 51, 100, 1), 24))
            .await
            .expect("address");
        kernel.set_link_up("lan0").await.expect("up");
        let own = serve((Ipv4Addr::UNSPECIFIED, 9000).into()).await;
        tell_ready.send(()).expect("heard");
        let (on_host, on_app) = within(tokio::task::spawn_blocking(move || {
            neighbour.join().expect("no panic")
        }))
        .await
        .expect("joined");
        assert_eq!(
            (on_host.as_str(), on_app),
            ("hello\n", false),
            "the host answers the neighbour, the app does not"
        );
        own.abort();
    });
}

#[test]
fn two_engines_share_a_host_without_touching_each_other() {
    bed::linux(async |bed| {
        let root = Arc::new(tempfile::tempdir().expect("temp dir"));
        let mut config = bed::linux_config(root.path(), &bed::cgroup_name());
        config.network.pool = "10.203.64.0".parse().expect("address");
        let other = Bed {
            engine: LinuxEngine::new(config).await.expect("engine"),
            root,
        };
        let ours = bed
            .start(bed.spec("a", &listen_script("0.0.0.0", 8080)))
            .await;
        bed.until_written("a", "listening").await;
        let (_, output) = other
            .run("b", &ask_script(&ours.address().to_string(), 8080, IN_VAIN))
            .await;
        assert_eq!(output, "no answer\n", "across engines too");
        other.engine.sweep(&[]).await.expect("sweeps");
        other.engine.uninstall().await.expect("uninstalls");
        let app = SocketAddr::new(address_v4(ours.address()).into(), 8080);
        assert_eq!(greeting(app).await.expect("still answers"), "hello\n");
    });
}
