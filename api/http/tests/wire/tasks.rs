//! One-off tasks: the calls of `cf`, and what a cell may do wrong without a task running twice.

use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Method, StatusCode};
use model::ids::TaskId;
use model::protocol::cell::{OrderBody, TaskSpec};
use model::task::{TaskReport, TaskState};
use serde_json::{Value, json};

use crate::cell::{Cell, Frames, next_numbered, next_order, ran, refuse, say_task};
use crate::client::{Answer, Client};
use crate::push::stage;
use crate::world::{World, eventually, zip};

/// An app with a droplet, on a cell whose session the test speaks itself.
async fn ready(world: &World) -> (String, Cell, Frames) {
    let app = world.new_app("tasks").await;
    let cell = Cell::new(world.socket());
    let mut session = cell.join(vec![]).await;
    let bits = zip(&[("app.jar", b"hello")]);
    let serve = async {
        loop {
            let order = next_order(&mut session).await;
            cell.obey(&mut session, order).await;
        }
    };
    let parts: [(&str, Option<&str>, &[u8]); 1] = [("bits", Some("package.zip"), &bits)];
    let droplet = tokio::select! {
        droplet = stage(world, &app, &parts) => droplet,
        () = serve => unreachable!("it serves for ever"),
    };
    set_droplet(world, &app, &droplet).await;
    (app, cell, session)
}

async fn set_droplet(world: &World, app: &str, droplet: &str) {
    let path = format!("/v3/apps/{app}/relationships/current_droplet");
    let body = json!({ "data": { "guid": droplet } });
    Client::ok(&world.client.patch(&path, &body).await);
}

async fn post(world: &World, app: &str, body: Value) -> Answer {
    let path = format!("/v3/apps/{app}/tasks");
    world.client.post(&path, &body).await
}

async fn run(world: &World, app: &str, command: &str) -> Value {
    let answer = post(world, app, json!({ "command": command })).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::ACCEPTED, None),
        "{answer:?}"
    );
    answer.json()
}

fn path(task: &Value) -> String {
    format!("/v3/tasks/{}", task["guid"].as_str().expect("a GUID"))
}

fn id(task: &Value) -> TaskId {
    let guid = task["guid"].as_str().expect("a GUID");
    guid.parse().expect("a GUID")
}

async fn becomes(world: &World, task: &Value, state: &str) -> Value {
    let path = path(task);
    eventually(state, || async {
        let task = world.client.read(&path).await;
        (task["state"] == state).then_some(task)
    })
    .await
}

/// The next one-off task that the cell is told to run; whatever else it is told is no matter here.
async fn next_task(session: &mut Frames) -> TaskSpec {
    loop {
        if let OrderBody::RunTask(spec) = next_order(session).await {
            return *spec;
        }
    }
}

async fn next_cancel(session: &mut Frames) -> TaskId {
    loop {
        if let OrderBody::CancelTask { task } = next_order(session).await {
            return task;
        }
    }
}

#[tokio::test]
async fn cf_run_task_and_its_relatives() {
    let mut world = World::logged_in().await;
    let app = world.new_app("tasks").await;
    let env = json!({ "var": { "GREETING": "hi" } });
    let env_path = format!("/v3/apps/{app}/environment_variables");
    Client::ok(&world.client.patch(&env_path, &env).await);
    let refused = post(&world, &app, json!({ "command": "true" })).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        refused.detail(),
        "Task must have a droplet. Specify droplet or assign current droplet to app."
    );
    let cell = world.add_cell().await;
    let bits = zip(&[("app.jar", b"hello")]);
    let droplet = stage(&world, &app, &[("bits", Some("package.zip"), &bits)]).await;
    set_droplet(&world, &app, &droplet).await;
    let client = &world.client;

    let body = json!({ "command": "exit 0", "name": "migrate", "memory_in_mb": 64, "disk_in_mb": 128,
        "log_rate_limit_in_bytes_per_second": -1, "metadata": { "labels": { "team": "a" } } });
    let first = post(&world, &app, body).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    let first = first.json();
    assert_eq!(
        [&first["sequence_id"], &first["name"], &first["state"]],
        [&json!(1), &json!("migrate"), &json!("PENDING")]
    );
    let done = becomes(&world, &first, "SUCCEEDED").await;
    assert_eq!(done["result"], json!({ "failure_reason": null }));
    assert_eq!(
        [&done["command"], &done["memory_in_mb"], &done["disk_in_mb"]],
        [&json!("exit 0"), &json!(64), &json!(128)]
    );
    assert_eq!(done["metadata"]["labels"]["team"], "a");
    assert_eq!(done["droplet_guid"], droplet.as_str());

    // The template's command and sizes.
    let template = json!({ "template": { "process": { "guid": app } } });
    let templated = post(&world, &app, template).await.json();
    assert_eq!(templated["command"], "java -jar app.jar");
    becomes(&world, &templated, "RUNNING").await;
    let failing = run(&world, &app, "exit 3").await;
    let failed = becomes(&world, &failing, "FAILED").await;
    assert_eq!(failed["result"]["failure_reason"], "Exited with status 3");
    {
        let seen = cell.seen.lock().expect("no panic");
        let spec = &seen.tasks[0];
        assert_eq!(spec.env.get("GREETING"), Some("hi"));
        assert_eq!(spec.env.get("MEMORY_LIMIT"), Some("64m"));
        assert_eq!(spec.env.get("PORT"), None);
        let vcap = spec.env.get("VCAP_APPLICATION").expect("it is there");
        let vcap: Value = serde_json::from_str(vcap).expect("JSON");
        assert_eq!(vcap["limits"]["mem"], 64);
        assert_eq!(seen.tasks.len(), 3);
    }

    // Lists and their filters, as `cf tasks` and `cf task` ask.
    let numbers = async |query: &str| {
        let page = client.read(&format!("/v3/{query}")).await;
        let tasks = page["resources"].as_array().expect("a list").clone();
        let numbers = tasks
            .iter()
            .map(|task| task["sequence_id"].as_u64().expect("a number"));
        numbers.collect::<Vec<_>>()
    };
    let other = world.new_app("other").await;
    for (query, want) in [
        (format!("apps/{app}/tasks?per_page=5000"), vec![1, 2, 3]),
        (
            format!("apps/{app}/tasks?order_by=-created_at"),
            vec![3, 2, 1],
        ),
        (
            format!("apps/{app}/tasks?sequence_ids=2&page=1&per_page=1"),
            vec![2],
        ),
        (format!("apps/{app}/tasks?sequence_ids=none"), vec![]),
        (
            format!("apps/{app}/tasks?states=FAILED,SUCCEEDED"),
            vec![1, 3],
        ),
        (format!("apps/{app}/tasks?names=migrate"), vec![1]),
        (format!("tasks?app_guids={app}&states=RUNNING"), vec![2]),
        (format!("tasks?app_guids={other}"), vec![]),
        (
            format!("tasks?space_guids={}", world.space().await),
            vec![1, 2, 3],
        ),
        (format!("tasks?guids={}", id(&failing)), vec![3]),
        ("tasks?per_page=2&page=2".into(), vec![3]),
    ] {
        assert_eq!(numbers(&query).await, want, "{query}");
    }
    let listed = client.read("/v3/tasks").await;
    assert_eq!(
        listed["resources"][0].get("command"),
        None,
        "commands hold secrets"
    );
    let of_app = client.read(&format!("/v3/apps/{app}/tasks")).await;
    assert_eq!(of_app["resources"][0]["command"], "exit 0");
    assert_eq!(
        client
            .get(&format!("/v3/apps/{app}/tasks?owner=x"))
            .await
            .status,
        StatusCode::BAD_REQUEST
    );

    let labels = json!({ "metadata": { "labels": { "team": null, "kind": "db" } } });
    let labelled = Client::ok(&client.patch(&path(&first), &labels).await);
    assert_eq!(labelled["metadata"]["labels"], json!({ "kind": "db" }));
    let logs = client
        .read(&format!("/api/v1/read/{app}?start_time=9999"))
        .await;
    let line = &logs["envelopes"]["batch"][0];
    assert_eq!(
        [&line["tags"]["source_type"], &line["instance_id"]],
        ["APP/TASK/migrate", "1"]
    );
    let events = client
        .read(&format!(
            "/v3/audit_events?target_guids={app}&types=audit.app.task.create"
        ))
        .await;
    assert_eq!(events["pagination"]["total_results"], 3);
    assert!(!events.to_string().contains("exit 3"), "{events}");
}

#[tokio::test]
async fn what_no_task_can_be_is_refused() {
    let world = World::logged_in().await;
    let (app, _cell, _session) = ready(&world).await;
    let other = world.new_app("other").await;
    let long = "x".repeat(20_000);
    for (body, status, text) in [
        (json!({}), 422, "Command can't be blank"),
        (json!({ "command": " " }), 422, "command must be"),
        (json!({ "command": long }), 422, "command must be"),
        (json!({ "command": "a", "name": "" }), 422, "name must be"),
        (
            json!({ "command": "a", "name": "a\nb" }),
            422,
            "name must be",
        ),
        (
            json!({ "command": "a", "memory_in_mb": 0 }),
            422,
            "memory must be",
        ),
        (
            json!({ "command": "a", "disk_in_mb": 1 }),
            422,
            "disk must be",
        ),
        (
            json!({ "command": "a", "memory_in_mb": 9000 }),
            422,
            "fits no cell",
        ),
        (
            json!({ "command": "a", "log_rate_limit_in_bytes_per_second": 5 }),
            422,
            "log rate",
        ),
        (
            json!({ "command": "a", "droplet_guid": other }),
            422,
            "must have a droplet",
        ),
        (
            json!({ "template": { "process": { "guid": other } } }),
            404,
            "Process not found",
        ),
        (
            json!({ "command": "a", "template": { "process": { "guid": "?" } } }),
            422,
            "Invalid process",
        ),
    ] {
        let answer = post(&world, &app, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.detail().contains(text), "{body}: {answer:?}");
    }
    let listed = world.client.read("/v3/tasks").await;
    assert_eq!(listed["resources"], json!([]));
}

#[tokio::test]
async fn a_cancelled_task_ends_once_its_cell_has_obeyed() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let app = world.new_app("tasks").await;
    let bits = zip(&[("app.jar", b"hello")]);
    let droplet = stage(&world, &app, &[("bits", Some("package.zip"), &bits)]).await;
    set_droplet(&world, &app, &droplet).await;
    for old_form in [true, false] {
        let task = run(&world, &app, "sleep").await;
        becomes(&world, &task, "RUNNING").await;
        let answer = if old_form {
            let path = format!("{}/cancel", path(&task));
            world
                .client
                .send(Method::PUT, &path, &[], Body::empty())
                .await
        } else {
            let path = format!("{}/actions/cancel", path(&task));
            world.client.post(&path, &json!({})).await
        };
        assert_eq!(
            (answer.status, answer.json()["state"].clone()),
            (StatusCode::ACCEPTED, json!("CANCELING"))
        );
        let failed = becomes(&world, &task, "FAILED").await;
        assert_eq!(failed["result"]["failure_reason"], "task was cancelled");
        let again = format!("{}/actions/cancel", path(&task));
        let again = world.client.post(&again, &json!({})).await;
        assert_eq!(
            (again.status, again.detail().as_str()),
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                "Task state is FAILED and therefore cannot be canceled"
            )
        );
    }
    drop(cell);
}

#[tokio::test]
async fn a_task_that_waits_for_room_is_cancelled_at_once() {
    let world = World::logged_in().await;
    let (app, _cell, mut session) = ready(&world).await;
    // All of the cell's memory.
    let large = json!({ "command": "sleep", "memory_in_mb": 8192 });
    let large = post(&world, &app, large).await.json();
    let spec = next_task(&mut session).await;
    assert_eq!(spec.task, id(&large));
    let waits = run(&world, &app, "sleep").await;
    let cancel = format!("{}/actions/cancel", path(&waits));
    let cancelled = world.client.post(&cancel, &json!({})).await.json();
    assert_eq!(
        [&cancelled["state"], &cancelled["result"]["failure_reason"]],
        ["FAILED", "task was cancelled"]
    );
    // The room that it would have had goes to the next one.
    say_task(&mut session, spec.task, ran(0)).await;
    let next = run(&world, &app, "sleep").await;
    assert_eq!(next_task(&mut session).await.task, id(&next));
}

#[tokio::test]
async fn an_order_that_was_lost_is_not_sent_again() {
    let world = World::logged_in().await;
    let (app, cell, mut session) = ready(&world).await;
    let task = run(&world, &app, "sleep").await;
    assert_eq!(next_task(&mut session).await.task, id(&task));
    drop(session);
    let mut session = cell.join(vec![]).await;
    let failed = becomes(&world, &task, "FAILED").await;
    let reason = failed["result"]["failure_reason"]
        .as_str()
        .expect("a reason");
    assert!(reason.contains("not run again"), "{reason}");
    let next = run(&world, &app, "sleep").await;
    assert_eq!(
        next_task(&mut session).await.task,
        id(&next),
        "the lost one comes not again"
    );
}

#[tokio::test]
async fn a_task_that_its_cell_refuses_has_failed_for_want_of_room() {
    let world = World::logged_in().await;
    let (app, _cell, mut session) = ready(&world).await;
    let task = run(&world, &app, "sleep").await;
    let seq = loop {
        let order = next_numbered(&mut session).await;
        if matches!(order.body, OrderBody::RunTask(_)) {
            break order.seq;
        }
    };
    refuse(&mut session, seq, "this cell is full").await;
    let failed = becomes(&world, &task, "FAILED").await;
    assert_eq!(
        failed["result"]["failure_reason"],
        "InsufficientResources: no cell can take the task: this cell is full"
    );
    let next = run(&world, &app, "sleep").await;
    assert_eq!(next_task(&mut session).await.task, id(&next));
}

/// A wish to end a task may come at any moment: before it is placed, between that and its order, and after.
#[tokio::test]
async fn no_cancellation_is_lost_however_early_it_comes() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let app = world.new_app("tasks").await;
    let bits = zip(&[("app.jar", b"hello")]);
    let droplet = stage(&world, &app, &[("bits", Some("package.zip"), &bits)]).await;
    set_droplet(&world, &app, &droplet).await;
    let mut tasks = Vec::new();
    for round in 0..40 {
        let body = json!({ "command": "sleep", "memory_in_mb": 16, "disk_in_mb": 16 });
        let task = post(&world, &app, body).await.json();
        for _ in 0..round % 8 {
            tokio::task::yield_now().await;
        }
        let cancel = format!("{}/actions/cancel", path(&task));
        let cancelled = world.client.post(&cancel, &json!({})).await;
        assert_eq!(cancelled.status, StatusCode::ACCEPTED, "{cancelled:?}");
        tasks.push(task);
    }
    for task in &tasks {
        let failed = becomes(&world, task, "FAILED").await;
        assert_eq!(failed["result"]["failure_reason"], "task was cancelled");
    }
    drop(cell);
}

#[tokio::test]
async fn late_doubled_and_foreign_reports_change_nothing() {
    let world = World::logged_in().await;
    let (app, _cell, mut session) = ready(&world).await;
    let task = run(&world, &app, "sleep").await;
    let spec = next_task(&mut session).await;
    say_task(&mut session, spec.task, TaskState::Started).await;
    becomes(&world, &task, "RUNNING").await;

    let stranger = Cell::new(world.socket());
    let mut foreign = stranger.join(vec![]).await;
    say_task(&mut foreign, spec.task, ran(9)).await;
    let forget = next_order(&mut foreign).await;
    assert!(
        matches!(forget, OrderBody::ForgetTask { task } if task == spec.task),
        "{forget:?}"
    );
    assert_eq!(world.client.read(&path(&task)).await["state"], "RUNNING");

    for state in [ran(0), ran(0), TaskState::Started, ran(7)] {
        say_task(&mut session, spec.task, state).await;
    }
    for _ in 0..3 {
        while !matches!(next_order(&mut session).await, OrderBody::ForgetTask { task } if task == spec.task)
        {
        }
    }
    let task = world.client.read(&path(&task)).await;
    assert_eq!(
        [&task["state"], &task["result"]["failure_reason"]],
        [&json!("SUCCEEDED"), &Value::Null]
    );
}

#[tokio::test]
async fn a_new_server_goes_on_with_tasks_and_with_their_cancellation() {
    let world = World::logged_in().await;
    let (app, cell, mut session) = ready(&world).await;
    let (goes_on, cancelled) = (
        run(&world, &app, "sleep").await,
        run(&world, &app, "sleep").await,
    );
    let lost = run(&world, &app, "sleep").await;
    for _ in 0..3 {
        let spec = next_task(&mut session).await;
        say_task(&mut session, spec.task, TaskState::Started).await;
    }
    for task in [&goes_on, &cancelled, &lost] {
        becomes(&world, task, "RUNNING").await;
    }
    drop(session);
    let cancel = format!("{}/actions/cancel", path(&cancelled));
    let canceling = world.client.post(&cancel, &json!({})).await.json();
    assert_eq!(canceling["state"], "CANCELING");

    let world = world.restarted().await;
    let report = |task: &Value| TaskReport {
        task: id(task),
        state: TaskState::Started,
    };
    let tasks = vec![report(&goes_on), report(&cancelled)];
    let mut session = cell.join_with(vec![], tasks).await;
    assert_eq!(next_cancel(&mut session).await, id(&cancelled));
    becomes(&world, &lost, "FAILED").await;
    say_task(&mut session, id(&goes_on), ran(0)).await;
    becomes(&world, &goes_on, "SUCCEEDED").await;
    // It ended by itself before the wish reached it.
    say_task(&mut session, id(&cancelled), ran(0)).await;
    becomes(&world, &cancelled, "SUCCEEDED").await;
}

#[tokio::test]
async fn a_deleted_app_ends_its_tasks() {
    let world = World::logged_in().await;
    let (app, _cell, mut session) = ready(&world).await;
    let task = run(&world, &app, "sleep").await;
    let spec = next_task(&mut session).await;
    say_task(&mut session, spec.task, TaskState::Started).await;
    becomes(&world, &task, "RUNNING").await;
    let deleted = world.client.delete(&format!("/v3/apps/{app}")).await;
    assert_eq!(world.client.job(&deleted).await["state"], "COMPLETE");
    assert_eq!(next_cancel(&mut session).await, spec.task);
    assert_eq!(
        world.client.get(&path(&task)).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn tasks_of_a_lost_cell_have_failed_and_are_ended_where_it_comes_back() {
    let world = World::logged_in().await;
    let (app, cell, mut session) = ready(&world).await;
    let task = run(&world, &app, "sleep").await;
    let spec = next_task(&mut session).await;
    say_task(&mut session, spec.task, TaskState::Started).await;
    becomes(&world, &task, "RUNNING").await;
    drop(session);
    // The cell's presence ends 15 s after its last word.
    let deadline = Instant::now() + Duration::from_secs(60);
    let failed = loop {
        let now = world.client.read(&path(&task)).await;
        if now["state"] != "RUNNING" {
            break now;
        }
        assert!(Instant::now() < deadline, "{now}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let reason = failed["result"]["failure_reason"]
        .as_str()
        .expect("a reason");
    assert!(
        reason.starts_with("cell disappeared before completion"),
        "{reason}"
    );

    let report = TaskReport {
        task: spec.task,
        state: TaskState::Started,
    };
    let mut session = cell.join_with(vec![], vec![report]).await;
    assert_eq!(next_cancel(&mut session).await, spec.task);
    say_task(&mut session, spec.task, ran(0)).await;
    while !matches!(next_order(&mut session).await, OrderBody::ForgetTask { .. }) {}
    assert_eq!(world.client.read(&path(&task)).await["state"], "FAILED");
}
