//! Deployments that pause: what the calls of `push --strategy canary`, `continue-deployment` and `cancel-deployment` find.

use http::StatusCode;
use serde_json::{Value, json};

use crate::cell::Cell;
use crate::client::Client;
use crate::push::{run, running, stage};
use crate::world::{World, eventually, zip};

/// An app of so many running instances, its droplet, and another one.
pub(crate) async fn started(world: &World, instances: u32) -> (String, String, String) {
    let client = &world.client;
    let app = world.new_app("hello").await;
    let bits = zip(&[("app.jar", b"one")]);
    let first = stage(world, &app, &[("bits", Some("a.zip"), &bits)]).await;
    run(client, &app, &first).await;
    let scale = format!("/v3/apps/{app}/processes/web/actions/scale");
    let scaled = client
        .post(&scale, &json!({ "instances": instances }))
        .await;
    assert_eq!(scaled.status, StatusCode::ACCEPTED, "{scaled:?}");
    running(client, &app, instances as usize).await;
    let bits = zip(&[("app.jar", b"two")]);
    let second = stage(world, &app, &[("bits", Some("a.zip"), &bits)]).await;
    (app, first, second)
}

async fn deploy(client: &Client, app: &str, droplet: &str, options: Value) -> String {
    let body = json!({
        "droplet": { "guid": droplet }, "strategy": "canary", "options": options,
        "relationships": { "app": { "data": { "guid": app } } },
    });
    let answer = client.post("/v3/deployments", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(answer.json()["strategy"], "canary");
    answer.json()["guid"].as_str().expect("a GUID").to_owned()
}

pub(crate) async fn reached(client: &Client, deployment: &str, value: &str, reason: &str) -> Value {
    let path = format!("/v3/deployments/{deployment}");
    eventually(reason, || async {
        let now = client.read(&path).await;
        (now["status"]["value"] == value && now["status"]["reason"] == reason).then_some(now)
    })
    .await
}

/// How many instances the cell runs, by the revision that `VCAP_APPLICATION` does not name: by version.
fn versions(cell: &Cell) -> Vec<usize> {
    let seen = cell.seen.lock().expect("no panic");
    let mut counts = std::collections::BTreeMap::<_, usize>::new();
    for spec in seen.running.values() {
        *counts.entry(spec.version.to_string()).or_default() += 1;
    }
    let mut counts = counts.into_values().collect::<Vec<_>>();
    counts.sort_unstable();
    counts
}

async fn act(client: &Client, deployment: &str, action: &str) -> crate::client::Answer {
    let path = format!("/v3/deployments/{deployment}/actions/{action}");
    client.post(&path, &json!({})).await
}

#[tokio::test]
async fn a_canary_pauses_beside_the_old_release_and_goes_on_when_told() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let (app, first, second) = started(&world, 2).await;
    let client = &world.client;
    let deployment = deploy(client, &app, &second, json!(null)).await;
    let paused = reached(client, &deployment, "ACTIVE", "PAUSED").await;
    assert_eq!(
        paused["status"]["canary"]["steps"],
        json!({ "current": 1, "total": 1 })
    );
    assert_eq!(paused["previous_droplet"]["guid"], first.as_str());
    assert_eq!(versions(&cell), [1, 2]);
    running(client, &app, 3).await;
    let deployed = client
        .read(&format!("/v3/apps/{app}/revisions/deployed"))
        .await;
    assert_eq!(deployed["resources"].as_array().map(Vec::len), Some(2));
    let scale = format!("/v3/apps/{app}/processes/web/actions/scale");
    let refused = client.post(&scale, &json!({ "instances": 5 })).await;
    assert_eq!(
        (refused.status, refused.detail().as_str()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            "Cannot scale this process while a deployment is in flight."
        )
    );
    Client::ok(&act(client, &deployment, "continue").await);
    reached(client, &deployment, "FINALIZED", "DEPLOYED").await;
    running(client, &app, 2).await;
    eventually("only the new release", || async {
        (versions(&cell) == [2]).then_some(())
    })
    .await;
    let again = act(client, &deployment, "continue").await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        again.detail().contains("FINALIZED and reason: DEPLOYED"),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_canary_takes_its_steps_and_a_cancelled_one_gives_everything_back() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let (app, first, second) = started(&world, 4).await;
    let client = &world.client;
    let options = json!({ "max_in_flight": 2, "canary": { "steps": [{ "instance_weight": 25 }, { "instance_weight": 100 }] } });
    let deployment = deploy(client, &app, &second, options).await;
    let paused = reached(client, &deployment, "ACTIVE", "PAUSED").await;
    assert_eq!(
        paused["status"]["canary"]["steps"],
        json!({ "current": 1, "total": 2 })
    );
    assert_eq!(paused["options"]["max_in_flight"], 2);
    assert_eq!(versions(&cell), [1, 4]);
    Client::ok(&act(client, &deployment, "continue").await);
    eventually("the second step", || async {
        let now = client.read(&format!("/v3/deployments/{deployment}")).await;
        (now["status"]["reason"] == "PAUSED" && now["status"]["canary"]["steps"]["current"] == 2)
            .then_some(())
    })
    .await;
    eventually("all are new", || async {
        (versions(&cell) == [4]).then_some(())
    })
    .await;
    Client::ok(&act(client, &deployment, "cancel").await);
    let canceled = reached(client, &deployment, "FINALIZED", "CANCELED").await;
    assert_eq!(canceled["status"]["canary"], json!(null));
    running(client, &app, 4).await;
    let current = client
        .read(&format!("/v3/apps/{app}/droplets/current"))
        .await;
    assert_eq!(
        current["guid"],
        first.as_str(),
        "the app's droplet too is the one before"
    );
}

#[tokio::test]
async fn a_paused_canary_outlives_the_server() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let (app, _, second) = started(&world, 2).await;
    let deployment = deploy(&world.client, &app, &second, json!(null)).await;
    reached(&world.client, &deployment, "ACTIVE", "PAUSED").await;
    let mut world = world.restarted().await;
    world.connect(&cell).await;
    let client = &world.client;
    reached(client, &deployment, "ACTIVE", "PAUSED").await;
    running(client, &app, 3).await;
    assert_eq!(versions(&cell), [1, 2], "nothing was started or stopped");
    Client::ok(&act(client, &deployment, "continue").await);
    reached(client, &deployment, "FINALIZED", "DEPLOYED").await;
    eventually("only the new release", || async {
        (versions(&cell) == [2]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn steps_that_make_no_sense_are_refused() {
    let mut world = World::logged_in().await;
    world.add_cell().await;
    let (app, _, second) = started(&world, 1).await;
    for (strategy, options, want) in [
        (
            "blue",
            json!(null),
            "Strategy must be 'rolling' or 'canary'",
        ),
        (
            "rolling",
            json!({ "canary": { "steps": [] } }),
            "only valid for Canary",
        ),
        (
            "canary",
            json!({ "canary": { "steps": [{ "instance_weight": 0 }] } }),
            "1 to 100",
        ),
        (
            "canary",
            json!({ "canary": { "steps": [{ "instance_weight": 50 }, { "instance_weight": 20 }] } }),
            "must rise",
        ),
        ("rolling", json!({ "max_in_flight": 0 }), "greater than 0"),
    ] {
        let body = json!({
            "droplet": { "guid": second }, "strategy": strategy, "options": options,
            "relationships": { "app": { "data": { "guid": app } } },
        });
        let answer = world.client.post("/v3/deployments", &body).await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{answer:?}"
        );
        assert!(answer.detail().contains(want), "{answer:?}");
    }
}
