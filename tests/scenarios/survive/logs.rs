//! Logs while the cell's agent is away.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{is_back, killed};
use crate::harness::{Platform, eventually, signal};

const LINES: usize = 3000;

const TALKER: &[(&str, &str)] = &[
    (
        "talk.pl",
        "$| = 1; for (1..3000) { print \"number $_\\n\"; select(undef, undef, undef, 0.003); } print \"done\\n\"; sleep 1000;\n",
    ),
    ("Procfile", "web: sleep 15; perl talk.pl\n"),
    (
        "manifest.yml",
        "applications:\n- name: talker\n  memory: 64M\n  no-route: true\n  health-check-type: process\n",
    ),
];

/// The numbers that an app's lines name, in the order in which they stand.
fn numbers(text: &str) -> Vec<usize> {
    let lines = text.lines().filter_map(|line| line.split_once("number "));
    lines
        .filter_map(|(_, number)| number.parse().ok())
        .collect()
}

#[test]
fn a_killed_agent_loses_and_doubles_no_line() {
    let platform = Platform::start();
    let source = platform.app("talker", TALKER);
    platform.run_in(&source, &["push", "talker"]).ok();
    let mut follower = platform
        .slipway()
        .args(["logs", "talker"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("slipway runs");
    let pipe = follower.stdout.take().expect("a pipe");
    let followed = Arc::new(Mutex::new(String::new()));
    let reader = {
        let followed = Arc::clone(&followed);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let line = line.expect("text") + "\n";
                followed
                    .lock()
                    .expect("no panic while held")
                    .push_str(&line);
            }
        })
    };
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(1200));
        let pid = killed(&platform, "cell");
        is_back(&platform, "cell", pid);
    }
    let recent = || platform.run(&["logs", "talker", "--recent"]).stdout;
    let done = eventually(Duration::from_secs(60), || {
        recent().contains("done").then_some(())
    });
    assert!(done.is_some(), "{}", recent());
    let seen = || followed.lock().expect("no panic while held").clone();
    let done = eventually(Duration::from_secs(60), || {
        seen().contains("done").then_some(())
    });
    assert!(done.is_some(), "{}", seen());
    signal(i32::try_from(follower.id()).expect("a pid"), "INT");
    follower.wait().expect("it ends");
    reader.join().expect("it reads");

    let followed = numbers(&seen());
    let first = *followed.first().expect("it saw lines");
    let mut sorted = followed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (first..=LINES).collect::<Vec<_>>(), "followed");
    assert!(first < LINES / 2, "it followed from line {first} on");
    let shown = numbers(&recent());
    let newest = shown.first().expect("there are lines");
    assert_eq!(shown, (*newest..=LINES).collect::<Vec<_>>(), "recent");
    assert!(shown.len() > 900, "{} lines", shown.len());
}
