//! One-off tasks: a command beside an app, run once, with an end that is told.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{PERL_SERVER, Platform, eventually, signal};

const PATIENCE: Duration = Duration::from_secs(30);

/// A platform with an app that was only built, to run tasks.
fn platform() -> Platform {
    let platform = Platform::start();
    let files = [
        ("server.pl", PERL_SERVER),
        (
            "Procfile",
            "web: perl server.pl\ntask: echo from the Procfile\n",
        ),
    ];
    let source = platform.app("jobs", &files);
    let push = [
        "push",
        "jobs",
        "-m",
        "64M",
        "--task",
        "--env",
        "GREETING=hi",
    ];
    let pushed = platform.run_in(&source, &push).ok();
    assert!(pushed.stdout.contains("built jobs"), "{}", pushed.stdout);
    platform
}

/// Takes a task on and gives its number.
fn begin(platform: &Platform, name: &str, command: &str) -> String {
    let run = [
        "run-task", "jobs", "--json", "-m", "64M", "--name", name, "-c", command,
    ];
    let task: Value = serde_json::from_str(&platform.run(&run).ok().stdout).expect("JSON");
    task["sequence_id"].to_string()
}

fn task(platform: &Platform, id: &str) -> Value {
    let shown = platform.run(&["task", "jobs", id, "--json"]);
    serde_json::from_str(&shown.stdout).unwrap_or_default()
}

fn becomes(platform: &Platform, id: &str, state: &str) -> Value {
    let found = eventually(PATIENCE, || {
        let task = task(platform, id);
        (task["state"] == state).then_some(task)
    });
    found.unwrap_or_else(|| panic!("not {state}: {}", task(platform, id)))
}

/// Whether a process of this machine has exactly these arguments.
fn runs(command: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let mut args = processes.map(|entry| std::fs::read(entry.path().join("cmdline")));
    args.any(|args| {
        let args = args.unwrap_or_default();
        String::from_utf8_lossy(&args).replace('\0', " ").trim_end() == command
    })
}

fn logs(platform: &Platform) -> String {
    platform.run(&["logs", "jobs", "--recent"]).ok().stdout
}

#[test]
fn a_task_runs_with_what_the_app_has_and_its_status_is_the_clients() {
    let platform = platform();
    let run = |args: &[&str]| {
        platform.run(&[&["run-task", "jobs", "-m", "64M", "--wait"], args].concat())
    };
    let command = r#"echo "$GREETING in $PWD with $MEMORY_LIMIT, port ${PORT-none}" > "$TMPDIR/words"; cat "$TMPDIR/words""#;
    let hello = run(&["--name", "hello", "-c", command]).ok();
    assert_eq!(
        hello.stdout, "hi in /home/vcap/app with 64m, port none\n",
        "{}",
        hello.stderr
    );
    run(&["-c", "echo no luck >&2; exit 7"]).fails(7, &["no luck", "Exited with status 7"]);
    let hungry = r#"perl -e 'my $x = "x" x (400 << 20); print length $x'"#;
    run(&["-c", hungry]).fails(137, &["out of memory", "64M"]);
    let template = run(&[]).ok();
    assert_eq!(template.stdout, "from the Procfile\n");

    assert!(
        logs(&platform).contains("[APP/TASK/hello/1] OUT hi in"),
        "{}",
        logs(&platform)
    );
    let tasks = platform.run(&["tasks", "jobs"]).ok().stdout;
    for (line, want) in tasks.lines().skip(1).zip([
        ["4 ", "SUCCEEDED"],
        ["3 ", "FAILED"],
        ["2 ", "FAILED"],
        ["1 ", "SUCCEEDED"],
    ]) {
        assert!(
            line.starts_with(want[0]) && line.contains(want[1]),
            "{tasks}"
        );
    }
    let second = platform.run(&["task", "jobs", "2"]).ok().stdout;
    assert!(
        second.contains("reason:    Exited with status 7"),
        "{second}"
    );
    platform
        .run(&["task", "jobs", "99"])
        .fails(5, &["jobs has no task 99", "slipway tasks jobs"]);
    platform
        .run(&["run-task", "jobs", "-c", "true", "-m", "900G"])
        .fails(12, &["fits no cell"]);
    let app = platform.run(&["app", "jobs"]).ok().stdout;
    assert!(app.contains("stopped"), "a task needs no instance: {app}");
}

#[test]
fn a_terminated_task_may_clean_up_and_a_deleted_app_leaves_none() {
    let platform = platform();
    let command = "trap 'echo bye; exit 0' TERM; echo trapped; while :; do sleep 0.1; done";
    let id = begin(&platform, "loops", command);
    becomes(&platform, &id, "RUNNING");
    let trapped = eventually(Duration::from_secs(30), || {
        logs(&platform).contains("trapped").then_some(())
    });
    assert!(trapped.is_some(), "{}", logs(&platform));
    platform.run(&["terminate-task", "jobs", &id]).ok();
    let failed = becomes(&platform, &id, "FAILED");
    assert_eq!(failed["result"]["failure_reason"], "task was cancelled");
    assert!(logs(&platform).contains("bye"), "{}", logs(&platform));
    platform
        .run(&["terminate-task", "jobs", &id])
        .fails(1, &["FAILED", "cannot be canceled"]);

    // Unlike the command of anybody else on this machine.
    let sleep = format!("sleep {}", 1_000_000 + u64::from(std::process::id()));
    let id = begin(&platform, "left", &format!("exec {sleep}"));
    becomes(&platform, &id, "RUNNING");
    // The state is written down before the command begins.
    let begun = eventually(PATIENCE, || runs(&sleep).then_some(()));
    assert!(begun.is_some(), "{}", logs(&platform));
    platform.run(&["delete", "jobs", "-f"]).ok();
    let gone = eventually(PATIENCE, || (!runs(&sleep)).then_some(()));
    assert!(gone.is_some(), "the task of a deleted app goes on");
}

#[test]
fn a_task_whose_agent_and_server_are_killed_ends_once() {
    let platform = platform();
    let id = begin(&platform, "long", "echo begun; sleep 6; echo finished");
    becomes(&platform, &id, "RUNNING");
    let begun = eventually(PATIENCE, || logs(&platform).contains("begun").then_some(()));
    assert!(begun.is_some(), "{}", logs(&platform));
    let pids = ["cell", "server"].map(|role| (role, platform.pid(role)));
    for (_, pid) in pids {
        signal(pid, "KILL");
    }
    for (role, pid) in pids {
        let back = eventually(PATIENCE, || (platform.pid(role) != pid).then_some(()));
        assert!(back.is_some(), "the {role} was not started again");
    }
    becomes(&platform, &id, "SUCCEEDED");
    let lines = logs(&platform);
    for word in ["OUT begun", "OUT finished", "Exit status 0"] {
        assert_eq!(lines.matches(word).count(), 1, "{word} in\n{lines}");
    }
}
