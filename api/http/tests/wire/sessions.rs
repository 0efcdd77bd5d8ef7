//! Sessions of cells that break off, and a server that begins anew.

use axum::body::Body;
use http::{Request, header};
use http_body_util::BodyExt as _;
use model::protocol::cell::OrderBody;
use model::protocol::router::RouteMessage;
use serde_json::json;

use crate::cell::{Cell, next_order, send};
use crate::push::{run, running, stage};
use crate::world::{World, eventually, zip};

#[tokio::test]
async fn a_build_whose_order_was_lost_with_its_session_fails() {
    let world = World::logged_in().await;
    let app = world.new_app("lost").await;
    let cell = Cell::new(world.socket());
    let mut session = cell.join(vec![]).await;
    let package = world.new_package(&app).await;
    let bits = zip(&[("a.txt", b"hello")]);
    world
        .client
        .upload(
            &format!("/v3/packages/{package}/upload"),
            &[("bits", Some("package.zip"), &bits)],
        )
        .await;
    let body = json!({ "package": { "guid": package } });
    let build = world.client.post("/v3/builds", &body).await.json();
    let order = next_order(&mut session).await;
    assert!(matches!(order, OrderBody::Stage(_)), "{order:?}");
    drop(session);
    let _session = cell.join(vec![]).await;
    let path = format!("/v3/builds/{}", build["guid"].as_str().expect("a GUID"));
    let failed = eventually("the build has ended", || async {
        let build = world.client.read(&path).await;
        (build["state"] != "STAGING").then_some(build)
    })
    .await;
    assert_eq!(failed["state"], "FAILED");
    let error = failed["error"].as_str().expect("an error");
    assert!(error.contains("went away"), "{error}");
}

#[tokio::test]
async fn a_new_server_starts_nothing_that_runs_and_tells_routers_all_of_it_at_once() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let app = world.new_app("stays").await;
    let bits = zip(&[("a.txt", b"hello")]);
    let droplet = stage(&world, &app, &[("bits", Some("package.zip"), &bits)]).await;
    run(&world.client, &app, &droplet).await;
    let scale = format!("/v3/processes/{app}/actions/scale");
    world.client.post(&scale, &json!({ "instances": 10 })).await;
    running(&world.client, &app, 10).await;
    let route = json!({ "host": "stays", "relationships": {
        "space": { "data": { "guid": world.space().await } },
        "domain": { "data": world.client.read("/v3/domains").await["resources"][0] },
    } });
    let route = world.client.post("/v3/routes", &route).await.json();
    let path = format!(
        "/v3/routes/{}/destinations",
        route["guid"].as_str().expect("a GUID")
    );
    let to_app = json!({ "destinations": [{ "app": { "guid": app } }] });
    assert!(world.client.post(&path, &to_app).await.status.is_success());

    let world = world.restarted().await;
    let request = Request::get("/internal/routes").header(header::HOST, "server");
    let request = request.body(Body::empty()).expect("a request");
    let mut routes = send(&world.socket(), request).await;
    let mut session = cell.join(cell.reports()).await;
    let line = routes.body_mut().frame().await.expect("a frame");
    let line = line.expect("no error").into_data().expect("data");
    let RouteMessage::Snapshot(table) = serde_json::from_slice(&line).expect("NDJSON") else {
        panic!("no snapshot first");
    };
    let entry = table
        .entries
        .iter()
        .find(|entry| entry.key.host == "stays.localhost")
        .expect("the route");
    assert_eq!(entry.endpoints.len(), 10);
    // The first order that the cell gets is the one that this causes.
    world.client.post(&scale, &json!({ "instances": 11 })).await;
    match next_order(&mut session).await {
        OrderBody::Run(spec) => assert_eq!(spec.index, 10),
        other => panic!("{other:?}"),
    }
}
