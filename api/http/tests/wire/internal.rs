//! The doors of cells, routers and operators.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use model::protocol::router::RouteMessage;
use tower::ServiceExt as _;

use crate::cell::send;
use crate::world::World;

async fn blob(
    world: &World,
    method: Method,
    name: &str,
    body: Body,
) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let request = Request::builder()
        .method(method)
        .uri(format!("/internal/blobs/{name}"))
        .body(body)
        .expect("a request");
    let response = world
        .internal
        .clone()
        .oneshot(request)
        .await
        .expect("infallible");
    let (parts, body) = response.into_parts();
    (
        parts.status,
        parts.headers,
        body.collect().await.expect("a body").to_bytes().to_vec(),
    )
}

#[tokio::test]
async fn layers_go_in_and_come_out_and_nothing_else_does() {
    let world = World::new().await;
    let name = format!("layers/{}.tar.zst", "0b".repeat(32));
    assert_eq!(
        blob(&world, Method::HEAD, &name, Body::empty()).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        blob(&world, Method::PUT, &name, Body::from("a layer"))
            .await
            .0,
        StatusCode::CREATED
    );
    let (status, headers, body) = blob(&world, Method::HEAD, &name, Body::empty()).await;
    assert_eq!(
        (
            status,
            headers[header::CONTENT_LENGTH].to_str().expect("a number"),
            body.len()
        ),
        (StatusCode::OK, "7", 0)
    );
    assert_eq!(
        blob(&world, Method::GET, &name, Body::empty()).await.2,
        b"a layer"
    );
    for bad in [
        "layers/../../etc/passwd",
        "layers/x",
        "store.db",
        &name.to_uppercase(),
        "layers/%2e%2e/x",
    ] {
        for method in [Method::GET, Method::PUT] {
            let (status, ..) = blob(&world, method.clone(), bad, Body::from("x")).await;
            assert!(status.is_client_error(), "{method} {bad}: {status}");
        }
    }
    let package = format!("packages/{}.zip", "0b".repeat(32));
    assert_eq!(
        blob(&world, Method::PUT, &package, Body::from("x")).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_session_needs_the_upgrade() {
    let world = World::new().await;
    let path = "/internal/cells/6a617661-0000-4000-8000-000000000000/session";
    let plain = Request::post(path)
        .header(header::HOST, "server")
        .body(Body::empty())
        .expect("a request");
    assert_eq!(
        send(&world.socket(), plain).await.status(),
        StatusCode::BAD_REQUEST
    );
    let other = Request::post(path)
        .header(header::HOST, "server")
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .body(Body::empty())
        .expect("a request");
    assert_eq!(
        send(&world.socket(), other).await.status(),
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn routers_get_a_snapshot_and_the_end_of_the_server_ends_the_stream() {
    let mut world = World::new().await;
    world.add_cell().await;
    let request = Request::get("/internal/routes")
        .header(header::HOST, "server")
        .body(Body::empty())
        .expect("a request");
    let mut response = send(&world.socket(), request).await;
    let frame = response
        .body_mut()
        .frame()
        .await
        .expect("a frame")
        .expect("no error");
    let line = frame.into_data().expect("data");
    let message: RouteMessage = serde_json::from_slice(&line).expect("NDJSON");
    let RouteMessage::Snapshot(table) = message else {
        panic!("{message:?} before a snapshot")
    };
    assert!(
        table
            .control_hosts
            .iter()
            .any(|host| host == "api.localhost")
    );
    world.shutdown.cancel();
    // Without the end, this would wait for ever.
    while let Some(Ok(_)) = response.body_mut().frame().await {}
}

#[tokio::test]
async fn operators_see_health_and_figures() {
    let mut world = World::new().await;
    let get = |path: &'static str, router: axum::Router| async move {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("infallible");
        let status = response.status();
        (
            status,
            String::from_utf8_lossy(
                &response
                    .into_body()
                    .collect()
                    .await
                    .expect("a body")
                    .to_bytes(),
            )
            .into_owned(),
        )
    };
    assert_eq!(
        get("/healthz", world.admin.clone()).await,
        (StatusCode::OK, "ok\n".to_owned())
    );
    world.add_cell().await;
    let (admin, ready) = (world.admin.clone(), "/readyz");
    crate::world::eventually("ready", || {
        let answer = get(ready, admin.clone());
        async move { (answer.await.0 == StatusCode::OK).then_some(()) }
    })
    .await;
    let (status, metrics) = get("/metrics", world.admin.clone()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        metrics
            .lines()
            .any(|line| line == "slipway_connected_cells 1"),
        "{metrics}"
    );
}
