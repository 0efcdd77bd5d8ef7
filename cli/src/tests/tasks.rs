//! One-off tasks, call by call.

use serde_json::{Value, json};

use super::Home;
use super::scripted::{Server, json_body};
use crate::commands::tasks::{RunTask, TaskCommand, TerminateTask};
use crate::error::Outcome;

fn task(state: &str, reason: Value) -> Value {
    json!({"guid": "task-1", "sequence_id": 3, "name": "migrate", "command": "run", "state": state,
           "result": {"failure_reason": reason}})
}

fn run_task() -> RunTask {
    RunTask {
        app: "hello".into(),
        command: Some("bin/migrate".into()),
        process: None,
        name: Some("migrate".into()),
        memory: Some("256M".parse().expect("a size")),
        disk: None,
        wait: false,
    }
}

async fn run(server: Server, command: RunTask) -> (Outcome, Vec<super::scripted::Received>) {
    let home = Home::with(server);
    let cx = home.open().await.expect("logged in");
    let outcome = command.run(&cx).await;
    (outcome, home.server.calls())
}

fn server() -> Server {
    Server::pushing().answering("POST /v3/apps/app-1/tasks", task("PENDING", Value::Null))
}

#[tokio::test]
async fn a_task_is_asked_for_as_cf_does() {
    let (outcome, calls) = run(server(), run_task()).await;
    outcome.expect("taken on");
    let asked = calls.last().expect("a call");
    assert_eq!(asked.line(), "POST /v3/apps/app-1/tasks");
    assert_eq!(
        json_body(asked),
        json!({"command": "bin/migrate", "name": "migrate", "memory_in_mb": 256})
    );

    let template = RunTask {
        command: None,
        process: Some("web".into()),
        ..run_task()
    };
    let (outcome, calls) = run(server(), template).await;
    outcome.expect("taken on");
    let body = json_body(calls.last().expect("a call"));
    assert_eq!(
        (&body["template"], body.get("command")),
        (&json!({"process": {"guid": "app-1"}}), None)
    );
}

#[tokio::test]
async fn without_a_command_the_person_is_told_how_to_give_one() {
    let command = RunTask {
        command: None,
        ..run_task()
    };
    let (outcome, calls) = run(server(), command).await;
    let error = outcome.expect_err("nothing to run");
    assert_eq!(error.exit_code(), 2);
    assert_eq!(error.hints, ["slipway run-task hello -c 'COMMAND'"]);
    assert!(!calls.iter().any(|call| call.line().starts_with("POST")));
    let command = RunTask {
        process: Some("worker".into()),
        ..run_task()
    };
    let (outcome, _) = run(server(), command).await;
    assert_eq!(outcome.expect_err("no such process").exit_code(), 5);
}

#[tokio::test]
async fn waiting_ends_as_the_task_did() {
    for (state, reason, want) in [
        ("SUCCEEDED", Value::Null, 0),
        ("FAILED", json!("Exited with status 7"), 7),
        ("FAILED", json!("task was cancelled"), 1),
    ] {
        let server = server().answering("GET /v3/tasks/task-1", task(state, reason));
        let waiting = RunTask {
            wait: true,
            ..run_task()
        };
        let (outcome, calls) = run(server, waiting).await;
        let code = outcome.map_or_else(|error| error.exit_code(), |()| 0);
        assert_eq!(code, want, "{state}");
        let at = |start: &str| {
            let found = calls.iter().position(|call| call.line().starts_with(start));
            found.unwrap_or_else(|| panic!("no {start}"))
        };
        let (logs, asked) = (at("GET /logs/api/v1/read/app-1"), at("POST /v3/apps"));
        assert!(logs < asked, "the place in the logs comes first");
    }
}

#[tokio::test]
async fn waiting_does_not_go_on_while_the_app_prints() {
    let printed = |time: u32| {
        json!({"envelopes": {"batch": [{"timestamp": time.to_string(), "tags": {"source_type": "APP/PROC/WEB"},
            "log": {"payload": "aGk="}}]}})
    };
    let mut server = server().answering("GET /v3/tasks/task-1", task("SUCCEEDED", Value::Null));
    for time in 1..=8 {
        server = server.answering_once("GET /logs/api/v1/read/app-1", printed(time));
    }
    let waiting = RunTask {
        wait: true,
        ..run_task()
    };
    let (outcome, calls) = run(server, waiting).await;
    outcome.expect("succeeded");
    let reads = calls.iter().filter(|call| call.line().contains("/logs/"));
    assert_eq!(reads.count(), 2, "before the task, and after its end");
}

#[tokio::test]
async fn a_task_is_found_by_its_number_and_ended() {
    let found = json!({"resources": [task("RUNNING", Value::Null)]});
    let server = Server::pushing()
        .answering("GET /v3/apps/app-1/tasks?sequence_ids=3&", found)
        .answering("GET /v3/apps/app-1/tasks?", json!({"resources": []}))
        .answering(
            "POST /v3/tasks/task-1/actions/cancel",
            task("CANCELING", Value::Null),
        );
    let home = Home::with(server);
    let cx = home.open().await.expect("logged in");
    let app = || "hello".to_owned();
    TaskCommand { app: app(), id: 3 }
        .run(&cx)
        .await
        .expect("shown");
    TerminateTask { app: app(), id: 3 }
        .run(&cx)
        .await
        .expect("ended");
    let error = TerminateTask { app: app(), id: 4 }
        .run(&cx)
        .await
        .expect_err("there is none");
    insta::assert_snapshot!(error, @r"
    ✗ E-NOTFOUND hello has no task 4
      kept       the newest 200 finished tasks of an app
      try        slipway tasks hello
    ");
}
