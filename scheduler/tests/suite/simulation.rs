//! Whole worlds on virtual time: a driver, cells with their own lives, and a network between them that loses, delays,
//! doubles and reorders. Each seed is one world; a failure names its seed, and `SLIPWAY_SEED=n` replays it.
//!
//! The conversation is the real one in small: a report opens a session and settles what was unknown, orders belong to
//! a session, a cell that is not heard of for its TTL is lost, and a new leader plans when every cell has reported or
//! is lost.

mod cell;
mod driver;
mod fate;
mod net;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use driver::World;

const SEEDS: u64 = 1000;

fn run(seed: u64) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| World::new(seed).run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text
            .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
            .unwrap_or_default())
    })
}

#[test]
fn worlds_with_faults_come_right_when_the_faults_stop() {
    if let Ok(seed) = std::env::var("SLIPWAY_SEED") {
        let seed = seed.parse().expect("SLIPWAY_SEED is a number");
        run(seed).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        return;
    }
    let next = AtomicU64::new(0);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let worker = || {
            let mut failures = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= SEEDS {
                    return failures;
                }
                if let Err(why) = run(seed) {
                    failures.push(format!("SLIPWAY_SEED={seed}: {why}"));
                }
            }
        };
        let count = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker catches panics"))
            .collect()
    });
    assert!(
        failures.is_empty(),
        "{} of {SEEDS} worlds went wrong:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
