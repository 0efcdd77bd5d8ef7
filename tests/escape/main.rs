//! The escape suite: hostile code as an app and as a build, on a platform in a network of the suite's own.
//!
//! This binary is both sides. Called by cargo it is the suite; pushed as an app, and called with `probe …`, it is the
//! hostile program. It has no harness of the standard kind, because its counts are to be seen where the tests pass.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that reports its counts"
)]

#[path = "../scenarios/harness.rs"]
#[allow(dead_code, reason = "the scenarios use what this suite does not")]
mod harness;
mod host;
mod probe;
mod suite;
mod tally;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use suite::World;

type Test = (&'static str, fn(&World));

/// In this order, on one platform. The last one does to it what only an operator could.
const TESTS: [Test; 5] = [
    ("hostile_code_in_an_app_is_refused_or_contained", suite::app),
    (
        "an_app_that_uses_up_everything_harms_no_neighbour",
        suite::app_bombs,
    ),
    (
        "hostile_code_in_a_build_is_refused_or_contained",
        suite::build,
    ),
    (
        "a_forged_build_output_is_refused_and_follows_no_link",
        suite::forged_output,
    ),
    (
        "the_walls_around_running_containers_stand_again_after_a_flush",
        suite::flush,
    ),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(status) = probe::main(&args) {
        return u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    if args.iter().any(|arg| arg == "--list") {
        for (name, _) in TESTS {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let chosen: Vec<&Test> = TESTS
        .iter()
        .filter(|(name, _)| {
            filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
        })
        .collect();
    println!("\nrunning {} tests", chosen.len());
    let began = Instant::now();
    let mut failed = 0;
    if !chosen.is_empty() {
        host::enter_own_network();
        let world = World::start();
        for (name, test) in &chosen {
            let began = Instant::now();
            let passed = catch_unwind(AssertUnwindSafe(|| test(&world))).is_ok();
            let word = if passed { "ok" } else { "FAILED" };
            println!("test {name} ... {word} ({} s)", began.elapsed().as_secs());
            failed += usize::from(!passed);
        }
        let unharmed = catch_unwind(AssertUnwindSafe(|| world.end())).is_ok();
        failed += usize::from(!unharmed);
    }
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        chosen.len().saturating_sub(failed),
        TESTS.len() - chosen.len(),
        began.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
