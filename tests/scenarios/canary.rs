//! Canary deployments under load: two releases answer, then one of them, and nobody is turned away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::{PERL_APP, PERL_SERVER, Platform, Response, eventually, request};

/// Requests one after the other until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Response>>,
}

impl Load {
    fn on(platform: &Platform) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, front) = (Arc::clone(&stop), platform.front);
        let asking = std::thread::spawn(move || {
            let mut answers = Vec::new();
            while !until.load(Ordering::Relaxed) && answers.len() < 50_000 {
                let head = "GET / HTTP/1.1\r\nHost: web.apps.test\r\nConnection: close\r\n\r\n";
                answers.push(request(front, head, b""));
            }
            answers
        });
        Self { stop, asking }
    }

    #[track_caller]
    fn ends_without_failure(self) {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.asking.join().expect("the load ends");
        let failed = answers
            .iter()
            .filter(|answer| answer.status != 200)
            .collect::<Vec<_>>();
        assert!(answers.len() > 20, "{} requests", answers.len());
        assert!(
            failed.is_empty(),
            "of {} requests {failed:?}",
            answers.len()
        );
    }
}

/// The releases that answer, as their first words.
fn answering(platform: &Platform) -> BTreeSet<String> {
    let word = |_| {
        let body = platform.get("web", "/").body;
        body.split(' ').next().unwrap_or_default().to_owned()
    };
    (0..12).map(word).collect()
}

fn only(platform: &Platform, word: &str) {
    let only = eventually(Duration::from_secs(30), || {
        (answering(platform) == BTreeSet::from([word.to_owned()])).then_some(())
    });
    assert!(only.is_some(), "{:?} answer", answering(platform));
}

#[test]
fn a_canary_that_is_continued_or_cancelled_fails_no_request() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform
        .run_in(&source, &["push", "web", "-m", "64M", "-i", "2"])
        .ok();
    let load = Load::on(&platform);
    let rewrite = |word: &str| {
        let text = PERL_SERVER.replace("instance $ENV", &format!("{word} $ENV"));
        std::fs::write(source.join("server.pl"), text).expect("a file");
    };
    rewrite("second");
    let pushed = platform
        .run_in(
            &source,
            &["push", "web", "-m", "64M", "--strategy", "canary"],
        )
        .ok();
    assert!(
        pushed.stdout.contains("paused web at step 1 of 1"),
        "{}",
        pushed.stdout
    );
    let both = BTreeSet::from(["instance".to_owned(), "second".to_owned()]);
    assert_eq!(answering(&platform), both);

    // A new server finds it paused, and leaves it so.
    let server = platform.pid("server");
    crate::harness::signal(server, "KILL");
    let back = eventually(Duration::from_secs(30), || {
        (platform.pid("server") != server
            && platform
                .api(
                    "GET",
                    "/v3/deployments?status_values=ACTIVE",
                    "application/json",
                    b"",
                )
                .status
                == 200)
            .then_some(())
    });
    assert!(back.is_some(), "the server is not back");
    let active = platform.api_json("/v3/deployments?status_values=ACTIVE");
    assert_eq!(active["resources"][0]["status"]["reason"], "PAUSED");
    assert_eq!(answering(&platform), both);

    platform.run(&["continue-deployment", "web"]).ok();
    only(&platform, "second");

    rewrite("third");
    let pushed = platform
        .run_in(
            &source,
            &[
                "push",
                "web",
                "-m",
                "64M",
                "--strategy",
                "canary",
                "--instance-steps",
                "50,100",
            ],
        )
        .ok();
    assert!(pushed.stdout.contains("step 1 of 2"), "{}", pushed.stdout);
    let continued = platform.run(&["continue-deployment", "web"]).ok();
    assert!(
        continued.stdout.contains("step 2 of 2"),
        "{}",
        continued.stdout
    );
    only(&platform, "third");
    platform.run(&["cancel-deployment", "web"]).ok();
    only(&platform, "second");
    load.ends_without_failure();
    platform
        .run(&["continue-deployment", "web"])
        .fails(5, &["no deployment under way"]);
}

#[test]
fn a_canary_that_does_not_start_leaves_the_old_release() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    let load = Load::on(&platform);
    std::fs::write(
        source.join("Procfile"),
        "web: echo 'no such table: guests' >&2; exit 4\n",
    )
    .expect("a file");
    platform
        .run_in(
            &source,
            &["push", "web", "-m", "64M", "--strategy", "canary"],
        )
        .fails(11, &["no such table: guests", "exited with 4"]);
    only(&platform, "instance");
    load.ends_without_failure();
}
