//! What the server keeps of an app that is pushed again and again, and a disk that is nearly full.

use api_control::Bounds;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use crate::client::Client;
use crate::push::{run, running, stage};
use crate::world::{Options, World, eventually, zip};

async fn versions(client: &Client, app: &str) -> Vec<(u64, String)> {
    let path = format!("/v3/apps/{app}/revisions?order_by=-created_at");
    let listed = client.read(&path).await;
    let listed = listed["resources"].as_array().expect("a list").iter();
    let version = |release: &serde_json::Value| {
        (
            release["version"].as_u64().expect("a number"),
            release["guid"].as_str().expect("a GUID").to_owned(),
        )
    };
    listed.map(version).collect()
}

async fn no_deployment(client: &Client, app: &str) {
    let path = format!("/v3/deployments?app_guids={app}&status_values=ACTIVE");
    eventually("no deployment is under way", || async {
        let found = client.read(&path).await;
        found["resources"]
            .as_array()
            .expect("a list")
            .is_empty()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_of_the_last_five_releases_comes_back_after_a_collection() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let client = world.client.clone();
    let app = world.new_app("shop").await;
    for version in 1..=8 {
        let bits = zip(&[("app.jar", format!("version {version}").as_bytes())]);
        let droplet = stage(&world, &app, &[("bits", Some("package.zip"), &bits)]).await;
        run(&client, &app, &droplet).await;
        no_deployment(&client, &app).await;
    }
    let told = client.read("/v3/x-collection").await;
    assert_eq!(told["dry_run"], true);
    let done = client.post("/v3/x-collection", &json!({})).await;
    let done = Client::ok(&done);
    assert_eq!(done["dry_run"], false);
    assert_eq!(done["disk"]["largest_apps"][0]["name"], "shop");
    assert_eq!(done["disk"]["largest_apps"][0]["releases"], 5);
    let kept = versions(&client, &app).await;
    let numbers = kept.iter().map(|(version, _)| *version).collect::<Vec<_>>();
    assert_eq!(numbers, [8, 7, 6, 5, 4]);
    let droplets = client.read(&format!("/v3/apps/{app}/droplets")).await;
    assert_eq!(droplets["pagination"]["total_results"], 5);

    for (_, revision) in kept.iter().rev() {
        let body = json!({ "revision": { "guid": revision }, "relationships": { "app": { "data": { "guid": app } } } });
        let deployment = client.post("/v3/deployments", &body).await;
        assert_eq!(deployment.status, StatusCode::CREATED, "{deployment:?}");
        running(&client, &app, 1).await;
        no_deployment(&client, &app).await;
        Client::ok(&client.post("/v3/x-collection", &json!({})).await);
    }
    let missing = cell.seen.lock().expect("no panic").missing.clone();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn a_nearly_full_disk_is_refused_with_figures_before_bytes_are_taken() {
    let mut world = World::logged_in().await;
    world.add_cell().await;
    let app = world.new_app("shop").await;
    let bits = zip(&[("app.jar", b"hello")]);
    let droplet = stage(&world, &app, &[("bits", Some("package.zip"), &bits)]).await;
    run(&world.client, &app, &droplet).await;
    let ready = world.client.read(&format!("/v3/apps/{app}/packages")).await;
    let ready = ready["resources"][0]["guid"]
        .as_str()
        .expect("one")
        .to_owned();
    let awaited = world.new_package(&app).await;

    let bounds = Bounds {
        keep_free: Some(u64::MAX / 2),
        ..Bounds::default()
    };
    let world = world
        .restarted_with(Options {
            bounds,
            ..Options::default()
        })
        .await;
    let client = &world.client;
    let upload = client
        .upload(
            &format!("/v3/packages/{awaited}/upload"),
            &[("bits", Some("package.zip"), &bits)],
        )
        .await;
    let build = client
        .post("/v3/builds", &json!({ "package": { "guid": ready } }))
        .await;
    let body = json!({ "type": "bits", "relationships": { "app": { "data": { "guid": app } } } });
    let package = client.post("/v3/packages", &body).await;
    for (refused, what) in [
        (&upload, "this upload needs about 1K, "),
        (&build, "this build needs about 16M, "),
        (&package, "an upload needs some, "),
    ] {
        assert_eq!(
            refused.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{refused:?}"
        );
        let text = refused.detail();
        assert!(text.starts_with("E-DISK the server keeps "), "{text}");
        assert!(text.contains(what) && text.contains(" is left\n"), "{text}");
        assert!(text.contains("releases of 'shop' 1K (1 kept)"), "{text}");
        assert!(text.contains("try        slipway gc --dry-run"), "{text}");
    }
    assert_eq!(world.scratch_files(), 0);
    let shown = client.read(&format!("/v3/packages/{awaited}")).await;
    assert_eq!(shown["state"], "AWAITING_UPLOAD", "it can be tried again");

    let layer = format!("/internal/blobs/layers/{}.tar.zst", "0b".repeat(32));
    let put = Request::builder()
        .method(Method::PUT)
        .uri(layer)
        .body(Body::from("layer"))
        .expect("a request");
    let answer = world.internal.clone().oneshot(put).await.expect("answers");
    assert_eq!(answer.status(), StatusCode::INSUFFICIENT_STORAGE);
    let text = answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    assert!(
        String::from_utf8_lossy(&text).contains("E-DISK"),
        "{text:?}"
    );
    // What needs no room goes on.
    assert_eq!(
        client.get(&format!("/v3/apps/{app}")).await.status,
        StatusCode::OK
    );
    Client::ok(&client.post("/v3/x-collection", &json!({})).await);
}
