//! The fleet's own code against simulated cells, on virtual time: the real store, driver and sessions, and cells that speak
//! the real protocol over a connection that loses, delays, doubles and reorders, that crash, return, and are started anew.
//!
//! `SLIPWAY_SEED=n` replays one world, several times: its faults and wishes are the same each time, while the store works
//! on threads of its own, so that the order of what happens within a moment may differ.

mod cell;
mod chance;
mod fate;
mod rules;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use world::World;

const SEEDS: u64 = 1000;
/// As many seeds as fit into this are run, beginning with the first.
const LONGEST: Duration = Duration::from_secs(18);
/// At least so many, however slow the machine is.
const FEWEST: u64 = 8;
const REPLAYS: u32 = 10;

/// Runs `story` on a clock that passes only when it says so.
fn on_virtual_time<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        // While blocking work is under way, the runtime does not let time pass by itself; else it would whenever the store
        // is waited for.
        let (done, until) = std::sync::mpsc::channel::<()>();
        let pin = tokio::task::spawn_blocking(move || {
            let _ = until.recv();
        });
        let result = story.await;
        drop(done);
        pin.await.expect("the pin does not panic");
        result
    })
}

fn run(seed: u64) -> Result<(), String> {
    let story = || on_virtual_time(async { World::new(seed).await.run().await });
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(story)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text
            .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
            .unwrap_or_default())
    })
}

#[test]
fn a_fleet_with_faults_comes_right_when_the_faults_stop() {
    if let Ok(seed) = std::env::var("SLIPWAY_SEED") {
        let seed = seed.parse().expect("SLIPWAY_SEED is a number");
        for _ in 0..REPLAYS {
            run(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        }
        return;
    }
    let (next, began) = (AtomicU64::new(0), Instant::now());
    let worker = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_late = seed >= FEWEST && began.elapsed() > LONGEST;
            if seed >= SEEDS || is_late || !failures.is_empty() {
                return failures;
            }
            if let Err(why) = run(seed) {
                failures.push(format!("SLIPWAY_SEED={seed}: {why}"));
            }
        }
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker catches panics"))
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(next.into_inner() >= FEWEST);
}
