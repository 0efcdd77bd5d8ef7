//! Changes of release that roll: what becomes of an app whose new release is not healthy yet, or never is.

use http::StatusCode;
use model::ids::InstanceId;
use serde_json::{Value, json};

use crate::canary::{reached, started};
use crate::cell::{Cell, Fate};
use crate::client::Client;
use crate::push::running;
use crate::world::{World, eventually};

fn decide(cell: &Cell, fate: Fate) {
    cell.seen.lock().expect("no panic").fate = fate;
}

fn serving(cell: &Cell) -> Vec<InstanceId> {
    let seen = cell.seen.lock().expect("no panic");
    seen.running.keys().copied().collect()
}

async fn act(client: &Client, app: &str, action: &str) {
    let path = format!("/v3/apps/{app}/actions/{action}");
    Client::ok(&client.post(&path, &json!({})).await);
}

async fn active(client: &Client, app: &str) -> Value {
    let path = format!("/v3/deployments?app_guids={app}&status_values=ACTIVE");
    client.read(&path).await["resources"][0].clone()
}

async fn current_droplet(client: &Client, app: &str) -> Value {
    let path = format!("/v3/apps/{app}/droplets/current");
    client.read(&path).await["guid"].clone()
}

async fn figures(client: &Client, app: &str) -> [Value; 2] {
    let process = client.read(&format!("/v3/processes/{app}")).await;
    ["instances", "memory_in_mb"].map(|name| process[name].clone())
}

/// A deployment of a droplet that never becomes healthy.
async fn failed(client: &Client, app: &str, droplet: &str, options: Value) {
    let body = json!({
        "droplet": { "guid": droplet }, "options": options,
        "relationships": { "app": { "data": { "guid": app } } },
    });
    let answer = client.post("/v3/deployments", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let deployment = answer.json()["guid"].as_str().expect("a GUID").to_owned();
    reached(client, &deployment, "FINALIZED", "CANCELED").await;
}

#[tokio::test]
async fn a_restart_during_a_rollout_keeps_what_serves_until_the_new_release_is_healthy() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let (app, first, second) = started(&world, 2).await;
    let client = &world.client;
    let before = serving(&cell);
    decide(&cell, Fate::Waits);
    let current = json!({ "data": { "guid": second } });
    let path = format!("/v3/apps/{app}/relationships/current_droplet");
    Client::ok(&client.patch(&path, &current).await);
    act(client, &app, "restart").await;
    let rollout = active(client, &app).await;
    act(client, &app, "restart").await;
    let again = active(client, &app).await;
    assert_ne!(rollout["guid"], again["guid"]);
    assert_eq!(again["previous_droplet"]["guid"], first.as_str());
    let newest = again["guid"].as_str().expect("a GUID");
    eventually("an instance of the restart", || async {
        let seen = cell.seen.lock().expect("no panic");
        (!seen.starting.is_empty()).then_some(())
    })
    .await;
    assert_eq!(serving(&cell), before);
    let cancel = format!("/v3/deployments/{newest}/actions/cancel");
    Client::ok(&client.post(&cancel, &json!({})).await);
    running(client, &app, 2).await;
    assert_eq!(serving(&cell), before);
    assert_eq!(current_droplet(client, &app).await, first.as_str());
}

#[tokio::test]
async fn a_release_that_fails_leaves_the_app_with_the_droplet_and_the_figures_that_it_had() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let (app, first, second) = started(&world, 2).await;
    let client = &world.client;
    let (before, had) = (serving(&cell), figures(client, &app).await);
    decide(&cell, Fate::IsNeverHealthy);
    let options = json!({ "web_instances": 3, "memory_in_mb": 512 });
    failed(client, &app, &second, options).await;
    assert_eq!(figures(client, &app).await, had);
    assert_eq!(current_droplet(client, &app).await, first.as_str());
    assert_eq!(serving(&cell), before);
    decide(&cell, Fate::Runs);
    act(client, &app, "restart").await;
    running(client, &app, 2).await;
    assert_eq!(current_droplet(client, &app).await, first.as_str());
}

#[tokio::test]
async fn who_stops_and_starts_an_app_after_a_failed_release_hears_of_the_start_alone() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let (app, _, second) = started(&world, 1).await;
    let client = &world.client;
    let stats = format!("/v3/processes/{app}/stats");
    decide(&cell, Fate::IsNeverHealthy);
    failed(client, &app, &second, json!(null)).await;
    eventually("the failure is shown", || async {
        let row = client.read(&stats).await["resources"][0].clone();
        (row["state"] == "CRASHED").then_some(())
    })
    .await;
    decide(&cell, Fate::Runs);
    act(client, &app, "stop").await;
    act(client, &app, "start").await;
    eventually("running", || async {
        let row = client.read(&stats).await["resources"][0].clone();
        assert_ne!(row["state"], "CRASHED", "{row}");
        (row["state"] == "RUNNING").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_deployment_that_is_refused_leaves_the_app_its_droplet() {
    let mut world = World::logged_in().await;
    world.add_cell().await;
    let (app, first, second) = started(&world, 1).await;
    let client = &world.client;
    let options = json!({ "memory_in_mb": 1_000_000 });
    let body = json!({
        "droplet": { "guid": second }, "options": options,
        "relationships": { "app": { "data": { "guid": app } } },
    });
    let answer = client.post("/v3/deployments", &body).await;
    assert!(answer.status.is_client_error(), "{answer:?}");
    assert_eq!(current_droplet(client, &app).await, first.as_str());

    let body = json!({
        "droplet": { "guid": second },
        "relationships": { "app": { "data": { "guid": app } } },
    });
    let answer = client.post("/v3/deployments", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(current_droplet(client, &app).await, second.as_str());
}
