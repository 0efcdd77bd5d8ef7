//! What one app may take of the host, and what the others notice of one that takes all it can.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{PERL_APP, Platform, eventually, signal};

/// Writes without end as soon as it is asked to.
const HOG: &[(&str, &str)] = &[
    ("Procfile", "web: exec perl hog.pl\n"),
    (
        "hog.pl",
        r#"use IO::Socket::INET;
$| = 1;
my $server = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 5, ReuseAddr => 1) or die $!;
while (my $client = $server->accept) {
    my $request = <$client>;
    if ($request =~ m{^GET /fill}) {
        open(my $file, '>', '/home/vcap/hog') or die "cannot open: $!\n";
        while (1) { (syswrite($file, 'x' x 65536) // 0) > 0 or die "cannot write: $!\n" }
    }
    print $client "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    close $client;
}
"#,
    ),
];

/// Prints as fast as it can.
const FLOOD: &[(&str, &str)] = &[
    ("Procfile", "web: exec perl flood.pl\n"),
    (
        "flood.pl",
        "my $line = ('x' x 99) . \"\\n\"; print $line x 100 while 1;\n",
    ),
];

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        // Taken away meanwhile.
        Err(_) => 0,
    });
    sizes.sum()
}

#[test]
fn an_app_that_fills_its_disk_is_told_so_and_its_owner_too() {
    let platform = Platform::start();
    let source = platform.app("hog", HOG);
    platform
        .run_in(&source, &["push", "hog", "-m", "64M", "-k", "64M"])
        .ok();
    assert_eq!(platform.get("hog", "/").body, "ok");
    platform.get("hog", "/fill");
    let told = eventually(Duration::from_secs(30), || {
        let logs = platform.run(&["logs", "hog", "--recent"]).ok().stdout;
        (logs.contains("cannot write: No space left on device") && logs.contains("out of disk"))
            .then_some(())
    });
    assert!(
        told.is_some(),
        "{:?}",
        platform.run(&["logs", "hog", "--recent"])
    );
    let events = platform.run(&["events", "hog"]).ok().stdout;
    assert!(events.contains("its disk of 64M is full"), "{events}");
    let again = eventually(Duration::from_secs(60), || {
        (platform.get("hog", "/").status == 200).then_some(())
    });
    assert!(again.is_some(), "it starts again with an empty disk");
}

#[test]
fn a_flood_of_lines_is_bounded_and_another_apps_line_arrives() {
    let platform = Platform::start();
    let flood = platform.app("flood", FLOOD);
    platform
        .run_in(
            &flood,
            &["push", "flood", "-m", "64M", "-u", "process", "--no-route"],
        )
        .ok();
    let limited = platform.app("limited", FLOOD);
    std::fs::write(
        limited.join("manifest.yml"),
        "applications:\n- name: limited\n  memory: 64M\n  no-route: true\n  health-check-type: process\n  log-rate-limit-per-second: 10K\n",
    )
    .expect("manifest");
    platform.run_in(&limited, &["push"]).ok();
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();

    assert_eq!(platform.get("web", "/stderr/marker").status, 200);
    let arrived = eventually(Duration::from_secs(60), || {
        let logs = platform.run(&["logs", "web", "--recent"]).ok().stdout;
        logs.contains("marker").then_some(())
    });
    assert!(arrived.is_some());

    let told = eventually(Duration::from_secs(60), || {
        let logs = platform.run(&["logs", "limited", "--recent"]).ok().stdout;
        logs.contains("app instance exceeded log rate limit (10240 bytes/sec)")
            .then_some(())
    });
    assert!(
        told.is_some(),
        "{:?}",
        platform.run(&["logs", "limited", "--recent"])
    );
    for container in std::fs::read_dir(platform.data().join("cell/containers")).expect("containers")
    {
        let logs = container.expect("entry").path().join("logs");
        assert!(bytes_below(&logs) < 18 << 20, "{}", logs.display());
    }
}

#[test]
fn a_layer_that_is_not_there_any_more_is_fetched_again() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    platform.run(&["stop", "web"]).ok();
    let layers = platform.data().join("cell/layers");
    let cell = platform.pid("cell");
    std::fs::remove_dir_all(&layers).expect("layers");
    signal(cell, "KILL");
    let back = eventually(Duration::from_secs(20), || {
        (platform.pid("cell") != cell && layers.exists()).then_some(())
    });
    assert!(back.is_some(), "the cell was not started again");
    platform.run(&["start", "web"]).ok();
    assert_eq!(platform.get("web", "/").status, 200);
    assert!(bytes_below(&layers) > 0);
}

#[test]
fn a_full_disk_is_refused_early_with_figures() {
    let platform = Platform::start_with(&["--min-free-disk", "1000T"]);
    let source = platform.app("web", PERL_APP);
    let began = Instant::now();
    platform
        .run_in(&source, &["push", "web", "-m", "64M"])
        .fails(12, &["E-CAPACITY", "free", "begins nothing new"]);
    assert!(began.elapsed() < Duration::from_secs(60));
}
