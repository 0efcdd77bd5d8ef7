//! The platform's own life: start, stop, die, come back.

use std::net::TcpListener;
use std::time::Duration;

use crate::harness::{PERL_APP, PERL_SERVER, Platform, eventually, is_alive, ran, signal};

#[test]
fn apps_keep_running_through_ctrl_c_and_a_killed_supervisor() {
    let mut platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    let instance = instance_guid(&platform);

    platform.kill_up();
    assert_eq!(
        platform.get("web", "/").status,
        200,
        "router, server and cell outlive their supervisor"
    );
    let router = platform.pid("router");
    platform.up(&[]);
    assert_eq!(
        platform.pid("router"),
        router,
        "the next supervisor takes the router over"
    );
    assert_eq!(platform.get("web", "/").status, 200);

    platform.interrupt();
    assert!(!is_alive(router));
    platform.up(&[]);
    let answers = eventually(Duration::from_secs(10), || {
        (platform.get("web", "/").status == 200).then_some(())
    });
    assert!(answers.is_some(), "the app has no way in after a new start");
    assert_eq!(
        instance_guid(&platform),
        instance,
        "the instance was not restarted"
    );
}

#[test]
fn a_killed_role_comes_back_and_the_app_answers_meanwhile() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    let instance = instance_guid(&platform);
    for role in ["server", "cell"] {
        let pid = platform.pid(role);
        signal(pid, "KILL");
        for _ in 0..20 {
            assert_eq!(platform.get("web", "/").status, 200, "{role}");
        }
        let back = eventually(Duration::from_secs(20), || {
            (platform.pid(role) != pid).then_some(())
        });
        assert!(back.is_some(), "the {role} was not started again");
    }
    let settled = eventually(Duration::from_secs(20), || {
        let app = platform.run(&["app", "web"]);
        (app.code == 0 && app.stdout.contains("running")).then_some(())
    });
    assert!(settled.is_some(), "the app is not shown as running again");
    assert_eq!(instance_guid(&platform), instance);
}

#[test]
fn apps_stay_reachable_while_the_control_plane_cannot_start() {
    let mut platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    platform.interrupt();

    // Nobody can be logged in.
    std::fs::remove_dir_all(platform.folder().join("client")).expect("removes");
    let password = platform.data().join("server/admin-password");
    std::fs::remove_file(password).expect("removes");
    platform.up(&[]);
    let log = platform.up_log();
    assert!(log.contains("SLIPWAY_ADMIN_PASSWORD"), "{log}");
    let answers = || (platform.get("web", "/").status == 200).then_some(());
    eventually(Duration::from_secs(10), answers).expect("the app answers");

    platform.interrupt();
    let key = platform.data().join("server/token.key");
    let aside = platform.folder().join("token.key");
    std::fs::rename(&key, &aside).expect("moves");
    std::fs::create_dir(&key).expect("a folder in its place");
    platform.begin_up(&[]);
    let late = eventually(Duration::from_secs(90), || {
        let log = platform.up_log();
        log.contains("did not become ready").then_some(log)
    });
    let log = late.expect("it is told");
    assert!(log.contains("stay reachable"), "{log}");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(platform.get("web", "/").status, 200, "the router serves on");

    std::fs::remove_dir(&key).expect("removes");
    std::fs::rename(&aside, &key).expect("moves");
    let ready = eventually(Duration::from_secs(60), || {
        platform.up_log().contains("is ready").then_some(())
    });
    assert!(ready.is_some(), "{}", platform.up_log());
}

#[test]
fn a_crashed_instance_is_started_again_and_its_last_words_are_kept() {
    let platform = Platform::start();
    let source = platform.app("web", PERL_APP);
    platform.run_in(&source, &["push", "web", "-m", "64M"]).ok();
    let first = instance_guid(&platform);
    let _ = platform.get("web", "/exit");
    let back = eventually(Duration::from_secs(20), || {
        let stats = stats(&platform);
        (stats["state"] == "RUNNING" && stats["instance_guid"].as_str() != Some(&first))
            .then_some(())
    });
    assert!(back.is_some(), "no new instance runs: {}", stats(&platform));
    assert_eq!(platform.get("web", "/").status, 200);
    let logs = platform.run(&["logs", "web", "--recent"]).ok();
    assert!(logs.stdout.contains("asked to exit"), "{}", logs.stdout);
    let events = platform.run(&["events", "web"]).ok();
    assert!(events.stdout.contains("crash"), "{}", events.stdout);
}

#[test]
fn a_port_or_folder_in_use_is_named() {
    let platform = Platform::start();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let other = platform.folder().join("o");
    let port = platform
        .slipway()
        .args(["up", "--listen", &address, "--data"])
        .arg(&other)
        .output()
        .expect("runs");
    ran(&port).fails(
        1,
        &[
            "in use",
            &taken.local_addr().expect("an address").port().to_string(),
        ],
    );
    let folder = platform
        .slipway()
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(platform.data())
        .output()
        .expect("runs");
    ran(&folder).fails(1, &["another 'slipway up'", "slipway down"]);
}

#[test]
fn without_containers_an_app_runs_as_a_plain_process_and_that_is_said() {
    let platform = Platform::start_with(&["--isolation", "process"]);
    assert!(platform.up_log().contains("NONE"), "{}", platform.up_log());
    let files = [
        ("server.pl", PERL_SERVER),
        ("Procfile", "web: mktemp && perl server.pl\n"),
    ];
    let source = platform.app("web", &files);
    platform
        .run_in(&source, &["push", "web", "-m", "64M", "-i", "2"])
        .ok();
    assert_eq!(platform.get("web", "/").status, 200);
    let logs = platform.run(&["logs", "web", "--recent"]).ok();
    assert!(logs.stdout.contains("listening on"), "{}", logs.stdout);
}

fn stats(platform: &Platform) -> serde_json::Value {
    let apps = platform.api_json("/v3/apps?names=web");
    let guid = apps["resources"][0]["guid"].as_str().expect("a guid");
    platform.api_json(&format!("/v3/processes/{guid}/stats"))["resources"][0].clone()
}

fn instance_guid(platform: &Platform) -> String {
    stats(platform)["instance_guid"]
        .as_str()
        .expect("an instance")
        .to_owned()
}
