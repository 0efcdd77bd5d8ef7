//! What is killed, and what must not notice: roles under load, the whole host, containers in the middle of their lives.

mod cycles;
mod load;
mod logs;
mod reboot;
mod traces;

use std::time::{Duration, Instant};

use crate::harness::{PERL_APP, Platform, eventually, signal};
use load::Load;
use traces::Traces;

/// How long a role may take to come back on a machine that does much else. Measured on an idle one: well below a second.
const BACK: Duration = Duration::from_secs(20);

fn killed(platform: &Platform, role: &str) -> i32 {
    let pid = platform.pid(role);
    signal(pid, "KILL");
    pid
}

fn is_back(platform: &Platform, role: &str, killed: i32) {
    let back = eventually(BACK, || (platform.pid(role) != killed).then_some(()));
    assert!(back.is_some(), "the {role} was not started again");
}

/// The app is shown as running: the server knows of all that its cell runs.
fn is_settled(platform: &Platform) {
    let settled = eventually(BACK, || {
        let app = platform.run(&["app", "web"]);
        let lines = app.stdout.lines().filter(|line| line.contains("running"));
        (app.code == 0 && lines.count() >= 2).then_some(())
    });
    assert!(
        settled.is_some(),
        "{}",
        platform.run(&["app", "web"]).stdout
    );
}

#[test]
#[allow(
    clippy::print_stdout,
    reason = "the figures are for whoever reads the test's output"
)]
fn apps_answer_and_keep_their_processes_whatever_role_is_killed() {
    let mut platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform
        .run_in(&source, &["push", "web", "-m", "64M", "-i", "2"])
        .ok();
    let traces = Traces::of(&platform);
    let processes = traces.processes();
    assert_eq!(processes.len(), 2, "{processes:?}");

    // No request notices a killed server, agent or supervisor.
    let load = Load::start(platform.front, "web");
    for role in ["server", "cell", "server", "cell"] {
        let pid = killed(&platform, role);
        is_back(&platform, role, pid);
        is_settled(&platform);
    }
    platform.kill_up();
    for role in ["server", "cell"] {
        killed(&platform, role);
    }
    std::thread::sleep(Duration::from_secs(1));
    platform.up(&[]);
    is_settled(&platform);
    let requests = load.stop();
    assert!(requests.len() > 100, "{} requests", requests.len());
    let failed = requests.iter().filter(|one| one.error.is_some());
    let failed = failed.collect::<Vec<_>>();
    assert!(failed.is_empty(), "of {}: {failed:?}", requests.len());
    assert_eq!(traces.processes(), processes);
    println!("figure survive.failed_requests 0 of {}", requests.len());

    // The connections of a killed router end with it, and none is refused.
    let load = Load::start(platform.front, "web");
    std::thread::sleep(Duration::from_millis(300));
    let pid = killed(&platform, "router");
    let at = Instant::now();
    is_back(&platform, "router", pid);
    let answered = eventually(BACK, || load.answered_since(at));
    let gap = answered.expect("the router answers again");
    std::thread::sleep(Duration::from_millis(500));
    let requests = load.stop();
    let refused = requests.iter().filter(|one| one.is_refused());
    assert_eq!(refused.count(), 0, "the port stays open");
    let late = requests
        .iter()
        .filter(|one| one.error.is_some() && one.began > at + gap)
        .collect::<Vec<_>>();
    assert!(late.is_empty(), "{late:?}");
    assert!(gap < Duration::from_secs(10), "{gap:?}");
    println!("figure survive.router_gap {} ms", gap.as_millis());

    // All at once.
    let load = Load::start(platform.front, "web");
    for role in ["cell", "router", "server"] {
        killed(&platform, role);
    }
    platform.kill_up();
    let at = Instant::now();
    platform.up(&[]);
    let answered = eventually(BACK, || load.answered_since(at));
    let gap = answered.expect("the platform answers again");
    load.stop();
    println!("figure survive.all_gap {} ms", gap.as_millis());
    is_settled(&platform);
    assert_eq!(traces.processes(), processes, "the apps have not noticed");
}
