//! Releases: rolled out without a gap, kept when the next one is bad, brought back in seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{PERL_APP, PERL_SERVER, Platform, eventually, request};

#[test]
fn a_push_of_a_running_app_fails_no_request() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform
        .run_in(&source, &["push", "web", "-m", "64M", "-i", "2"])
        .ok();
    let stop = Arc::new(AtomicBool::new(false));
    let load = std::thread::spawn({
        let (stop, front) = (Arc::clone(&stop), platform.front);
        move || {
            let mut statuses = Vec::new();
            while !stop.load(Ordering::Relaxed) && statuses.len() < 20_000 {
                let head = "GET / HTTP/1.1\r\nHost: web.apps.test\r\nConnection: close\r\n\r\n";
                statuses.push(request(front, head, b""));
            }
            statuses
        }
    });
    let pushed = platform
        .run_in(&source, &["push", "web", "-m", "64M", "-i", "2"])
        .ok();
    assert!(pushed.stdout.contains("release v2"), "{}", pushed.stdout);
    platform.run(&["set-env", "web", "COLOUR", "blue"]).ok();
    platform.run(&["restart", "web"]).ok();
    stop.store(true, Ordering::Relaxed);
    let statuses = load.join().expect("the load ends");
    let failed = statuses
        .iter()
        .filter(|response| response.status != 200)
        .collect::<Vec<_>>();
    assert!(statuses.len() > 20, "{} requests", statuses.len());
    assert!(
        failed.is_empty(),
        "of {} requests {failed:?}",
        statuses.len()
    );
    assert_eq!(platform.get("web", "/env/COLOUR").body, "blue");
}

#[test]
fn a_release_that_does_not_start_leaves_the_one_before() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    std::fs::write(
        source.join("Procfile"),
        "web: echo 'no such table: guests' >&2; exit 4\n",
    )
    .expect("a file");
    platform
        .run_in(&source, &["push", "web", "-m", "64M"])
        .fails(
            11,
            &["no such table: guests", "exited with 4", "v1 is still live"],
        );
    assert_eq!(platform.get("web", "/").status, 200);
    let settled = eventually(Duration::from_secs(30), || {
        let app = platform.run(&["app", "web"]);
        app.stdout.contains("running").then_some(())
    });
    assert!(settled.is_some());
    let releases = platform.run(&["releases", "web"]).ok();
    let live = releases
        .stdout
        .lines()
        .find(|line| line.contains("live") && line.contains("v1"));
    assert!(live.is_some(), "{}", releases.stdout);
}

#[test]
fn an_earlier_release_comes_back_without_a_build() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    std::fs::write(
        source.join("server.pl"),
        PERL_SERVER.replace("instance $ENV", "second $ENV"),
    )
    .expect("a file");
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    assert_eq!(platform.get("web", "/").body, "second 0");
    let back = platform.run(&["rollback", "web"]).ok();
    assert!(
        back.stdout.contains("release v3 (as v1)"),
        "{}",
        back.stdout
    );
    assert_eq!(platform.get("web", "/").body, "instance 0");
    platform
        .run(&["rollback", "web", "v9"])
        .fails(5, &["no release v9"]);
}
