//! Instances start and stop, over and over, while something is killed all the time.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use super::traces::Traces;
use crate::harness::{Platform, eventually};

const LIVES: usize = 200;
const APPS: usize = 4;
const INSTANCES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(180);
const SEED: u64 = 20_261_124;

const SLEEPER: &[(&str, &str)] = &[
    ("Procfile", "web: sleep 1000\n"),
    (
        "manifest.yml",
        "applications:\n- name: sleeper\n  memory: 32M\n  no-route: true\n  health-check-type: process\n",
    ),
];

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Kills a role, a shim or a process in a container; what is gone already is no failure.
fn kill_something(platform: &Platform, traces: &Traces, chance: &mut Chance) {
    let pid = match chance.below(8) {
        0 => fs::read_to_string(platform.data().join("run/server.pid")).ok(),
        1..=3 => fs::read_to_string(platform.data().join("run/cell.pid")).ok(),
        4 | 5 => {
            let shims = traces.shims().into_values().collect::<Vec<_>>();
            (!shims.is_empty()).then(|| shims[chance.below(shims.len())].to_string())
        }
        _ => {
            let all = traces
                .processes()
                .into_values()
                .flatten()
                .collect::<Vec<_>>();
            (!all.is_empty()).then(|| all[chance.below(all.len())].to_string())
        }
    };
    if let Some(pid) = pid {
        let _ = std::process::Command::new("kill")
            .args(["-KILL", pid.trim()])
            .output();
    }
}

/// Repeats a wish until the server, which may just have been killed, takes it.
fn wish(platform: &Platform, guid: &str, action: &str) {
    let path = format!("/v3/apps/{guid}/actions/{action}");
    let taken = eventually(Duration::from_secs(30), || {
        let response = platform.api("POST", &path, "application/json", b"{}");
        (response.status == 200).then_some(())
    });
    assert!(taken.is_some(), "{action} of {guid} is not taken");
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the seed is for whoever reads the test's output"
)]
fn two_hundred_lives_with_random_kills_leave_nothing_behind() {
    let platform = Platform::start();
    let source = platform.app("sleeper", SLEEPER);
    let count = INSTANCES.to_string();
    let mut guids = Vec::new();
    for number in 0..APPS {
        let name = format!("sleeper-{number}");
        platform
            .run_in(&source, &["push", &name, "--no-start", "-i", &count])
            .ok();
        platform.run_in(&source, &["start", &name]).ok();
        let apps = platform.api_json(&format!("/v3/apps?names={name}"));
        guids.push(
            apps["resources"][0]["guid"]
                .as_str()
                .expect("a guid")
                .to_owned(),
        );
    }
    let traces = Traces::of(&platform);
    let (mut chance, began) = (Chance(SEED), Instant::now());
    println!("seed {SEED}");
    let mut lives = BTreeSet::new();
    while lives.len() < LIVES {
        if !lives.is_empty() {
            for guid in &guids {
                wish(&platform, guid, "start");
                if chance.below(2) == 0 {
                    kill_something(&platform, &traces, &mut chance);
                }
            }
        }
        // Not all: what was just killed may be waiting for its next start.
        let enough = lives.len() + APPS * INSTANCES / 2;
        let started = eventually(PATIENCE, || {
            lives.extend(traces.processes().into_keys());
            (lives.len() >= enough).then_some(())
        });
        let running = || traces.processes();
        assert!(started.is_some(), "{} lives: {:?}", lives.len(), running());
        kill_something(&platform, &traces, &mut chance);
        for guid in &guids {
            lives.extend(traces.processes().into_keys());
            wish(&platform, guid, "stop");
            if chance.below(2) == 0 {
                kill_something(&platform, &traces, &mut chance);
            }
        }
    }
    println!(
        "figure survive.cycles {} lives in {:.0} s",
        lives.len(),
        began.elapsed().as_secs_f64()
    );
    let cleared = eventually(PATIENCE, || traces.of_containers().is_empty().then_some(()));
    assert!(cleared.is_some(), "{:#?}", traces.of_containers());
    let folder = platform.folder().to_owned();
    let up = platform.pid("up");
    drop(platform);
    assert!(!folder.exists() && !crate::harness::is_alive(up));
    let left = traces.of_platform();
    assert!(left.is_empty(), "{left:#?}");
}
