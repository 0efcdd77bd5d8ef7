//! The host is started anew.

use std::fs;
use std::time::Duration;

use super::traces::Traces;
use crate::harness::{PERL_APP, Platform, eventually};

#[test]
fn after_a_start_of_the_host_what_is_wanted_runs_again() {
    let mut platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform
        .run_in(&source, &["push", "web", "-m", "64M", "-i", "2"])
        .ok();
    platform
        .run(&[
            "push",
            "gone",
            "-p",
            &source.display().to_string(),
            "-m",
            "64M",
        ])
        .ok();
    let traces = Traces::of(&platform);
    let before = traces.processes();
    assert_eq!(before.len(), 3, "{before:?}");
    platform.kill_up();
    traces.lose_host();
    // What a start of the host changes, as far as a test may: the cell knows the host's boot by its id.
    let ledger = platform.data().join("cell/cell.json");
    let mut identity: serde_json::Value =
        serde_json::from_slice(&fs::read(&ledger).expect("a ledger")).expect("JSON");
    identity["boot_id"] = "the boot before".into();
    fs::write(&ledger, identity.to_string()).expect("written");

    platform.up(&[]);
    let answers = eventually(Duration::from_secs(30), || {
        let bodies = (0..20)
            .map(|_| platform.get("web", "/").body)
            .collect::<Vec<_>>();
        let all = ["instance 0", "instance 1"].map(|body| bodies.iter().any(|one| one == body));
        all.iter().all(|found| *found).then_some(())
    });
    assert!(
        answers.is_some(),
        "{}",
        platform.run(&["app", "web"]).stdout
    );
    let answers = eventually(Duration::from_secs(30), || {
        (platform.get("gone", "/").status == 200).then_some(())
    });
    assert!(
        answers.is_some(),
        "{}",
        platform.run(&["app", "gone"]).stdout
    );
    let now = Traces::of(&platform).processes();
    assert_eq!(now.len(), 3, "{now:?}");
    assert!(
        now.keys().all(|name| !before.contains_key(name)),
        "instances of the last boot are not believed to be there: {now:?}"
    );
    // Ending with the host is no crash.
    let events = platform.run(&["events", "web"]).ok();
    assert!(!events.stdout.contains("crash"), "{}", events.stdout);
    let settled = eventually(Duration::from_secs(20), || {
        let folders = fs::read_dir(platform.data().join("cell/containers")).ok()?;
        (folders.count() == 3).then_some(())
    });
    assert!(settled.is_some(), "folders of the last boot stay");
    platform.run(&["stop", "gone"]).ok();
    platform.run(&["stop", "web"]).ok();
    let cleared = eventually(Duration::from_secs(30), || {
        Traces::of(&platform)
            .of_containers()
            .is_empty()
            .then_some(())
    });
    assert!(
        cleared.is_some(),
        "{:?}",
        Traces::of(&platform).of_containers()
    );
}
