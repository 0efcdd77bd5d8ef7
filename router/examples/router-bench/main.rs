//! Measures the router against nginx and HAProxy: one proxy thread each, 64 connections, an upstream that answers 100
//! bytes over kept-alive connections.
//!
//! `cargo run -p router --release --example router-bench`, with `nginx`, `haproxy`, `wrk` and `taskset` on PATH. The proxy under
//! test has one processor to itself; load and upstream share another. All proxies run at once and are loaded in turns, so
//! that a busy machine is equally busy for all; a figure is the median over the rounds. `_cpu` figures compare processor time
//! per request, which is fairer still where other processes push in.
//!
//! Peers write no access log, nor does the router, but for `router.logged_ratio`, where nginx and the router both do.

mod load;
mod peers;
mod roles;

use std::error::Error;
use std::path::Path;

use load::{Load, Measured};
use peers::{Peer, free_port};

type Fallible<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 9;
const HOT_ROUTES: usize = 1000;
const MANY_ROUTES: usize = 100_000;
/// Below this share of its processor a proxy waits for load, and its rate says little about it.
const BUSY_ENOUGH: f64 = 0.85;

fn main() -> Fallible<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => measure(),
        ["upstream", port] => roles::upstream(port.parse()?),
        ["proxy", folder, port] => roles::proxy(Path::new(folder), port.parse()?, false),
        ["logging-proxy", folder, port] => roles::proxy(Path::new(folder), port.parse()?, true),
        _ => Err("this takes no arguments".into()),
    }
}

#[expect(clippy::print_stdout, reason = "figures are this program's output")]
fn figure(name: &str, value: f64, unit: &str) {
    println!("figure router.{name} {value:.3} {unit}");
}

fn measure() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let upstream_port = free_port()?;
    let _upstream = Peer::upstream(upstream_port)?;
    let one = roles::write_table(&at("one"), 0, 1, upstream_port)?;
    let hot = roles::write_table(&at("hot"), 0, HOT_ROUTES, upstream_port)?;
    let many = roles::write_table(
        &at("many"),
        MANY_ROUTES - HOT_ROUTES,
        HOT_ROUTES,
        upstream_port,
    )?;
    let logged = roles::write_table(&at("logged"), 0, 1, upstream_port)?;

    let nginx = Peer::nginx(&at("nginx"), upstream_port, false)?;
    let haproxy = Peer::haproxy(&at("haproxy"), upstream_port)?;
    let ours = Peer::router(&one, false)?;
    let plain = Load::one_host();
    let [nginx, haproxy, ours] = rounds(&plain, [&nginx, &haproxy, &ours])?;
    against_peers(&ours, &[nginx, haproxy]);

    // The other tables last: no route of theirs may cool the caches of the rounds before.
    let few = Peer::router(&hot, false)?;
    let idle_few = few.resident_mib()?;
    let all = Peer::router(&many, false)?;
    figure("routes_memory", all.resident_mib()? - idle_few, "MiB");
    let script = Load::many_hosts(&at("hosts.lua"), HOT_ROUTES)?;
    let [few, all] = rounds(&script, [&few, &all])?;
    figure("routes_ratio", ratio(&all, &few, |round| round.rate), "x");
    figure(
        "routes_ratio_cpu",
        ratio(&few, &all, |round| round.cpu_per_request),
        "x",
    );

    let nginx = Peer::nginx(&at("logging-nginx"), upstream_port, true)?;
    let ours = Peer::router(&logged, true)?;
    let [nginx, ours] = rounds(&plain, [&nginx, &ours])?;
    figure(
        "logged_ratio",
        ratio(&ours, &nginx, |round| round.rate),
        "x",
    );
    Ok(())
}

fn against_peers(ours: &[Measured], peers: &[Vec<Measured>]) {
    let [nginx, haproxy] = peers else { return };
    figure("rps", median(ours.iter().map(|round| round.rate)), "1/s");
    figure(
        "nginx_rps",
        median(nginx.iter().map(|round| round.rate)),
        "1/s",
    );
    figure(
        "haproxy_rps",
        median(haproxy.iter().map(|round| round.rate)),
        "1/s",
    );
    let least = |of: fn(&Measured) -> f64| {
        let ratios = peers.iter().map(|peer| ratio(ours, peer, of));
        ratios.fold(f64::INFINITY, f64::min)
    };
    figure("rps_ratio", least(|round| round.rate), "x");
    figure(
        "rps_ratio_cpu",
        least(|round| 1.0 / round.cpu_per_request),
        "x",
    );
    let worst = peers
        .iter()
        .map(|peer| ratio(ours, peer, |round| round.p99));
    figure("p99_ratio", worst.fold(0.0, f64::max), "x");
    figure(
        "cpu_per_request",
        median(ours.iter().map(|round| round.cpu_per_request)) * 1e6,
        "us",
    );
    for (name, rounds) in [
        ("rps", ours),
        ("nginx_rps", nginx),
        ("haproxy_rps", haproxy),
    ] {
        let busy = median(rounds.iter().map(|round| round.busy));
        if busy < BUSY_ENOUGH {
            note(&format!(
                "{name}: the proxy was busy for only {:.0} % of the time",
                busy * 100.0
            ));
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "what a reader must know beside the figures"
)]
fn note(text: &str) {
    eprintln!("note: {text}");
}

/// Loads the proxies in turns. The first turn warms up and does not count.
fn rounds<const N: usize>(load: &Load, proxies: [&Peer; N]) -> Fallible<[Vec<Measured>; N]> {
    let mut results = [const { Vec::new() }; N];
    for round in 0..=ROUNDS {
        for (proxy, results) in proxies.iter().zip(&mut results) {
            let measured = load.run(proxy)?;
            if round > 0 {
                results.push(measured);
            }
        }
    }
    Ok(results)
}

/// The median of the ratios of rounds that were neighbours in time.
fn ratio(these: &[Measured], those: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    median(
        these
            .iter()
            .zip(those)
            .map(|(this, that)| of(this) / of(that)),
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
