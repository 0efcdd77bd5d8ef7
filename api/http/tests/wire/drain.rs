//! How a server ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cell::send;
use crate::world::{World, eventually, zip};

fn request() -> Request<Body> {
    Request::get("/")
        .header(header::HOST, "server")
        .body(Body::empty())
        .expect("a request")
}

/// A router whose one answer waits for `go`, and tells by `came` that somebody asked.
fn waiting(came: &Arc<Notify>, go: &Arc<Notify>) -> Router {
    let (came, go) = (came.clone(), go.clone());
    let answer = move || {
        let (came, go) = (came.clone(), go.clone());
        async move {
            came.notify_one();
            go.notified().await;
            "done"
        }
    };
    Router::new().route("/", get(answer))
}

#[tokio::test]
async fn requests_under_way_finish_and_no_new_ones_begin() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let (came, go, shutdown) = (
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
        CancellationToken::new(),
    );
    let listener = UnixListener::bind(&socket).expect("binds");
    let server = api_http::serve(
        listener,
        waiting(&came, &go),
        TaskTracker::new(),
        shutdown.clone(),
        Duration::from_secs(60),
    );
    let client = async {
        let answer = async {
            let response = send(&socket, request()).await;
            response
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes()
        };
        let end = async {
            came.notified().await;
            shutdown.cancel();
            let refused = eventually("refusal", || async {
                UnixStream::connect(&socket).await.err()
            })
            .await;
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            go.notify_one();
        };
        tokio::join!(answer, end).0
    };
    let (served, body) = tokio::join!(server, client);
    served.expect("ends in peace");
    assert_eq!(body, "done");
}

#[tokio::test]
async fn requests_without_end_do_not_keep_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let (came, go, shutdown) = (
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
        CancellationToken::new(),
    );
    let listener = UnixListener::bind(&socket).expect("binds");
    let server = api_http::serve(
        listener,
        waiting(&came, &go),
        TaskTracker::new(),
        shutdown.clone(),
        Duration::from_millis(50),
    );
    let client = async {
        tokio::select! {
            _ = send(&socket, request()) => panic!("nobody said go"),
            () = async { came.notified().await; shutdown.cancel(); std::future::pending().await } => {}
        }
    };
    tokio::select! {
        served = server => served.expect("ends in peace"),
        () = client => unreachable!("the client waits for ever"),
    }
}

/// The public API of `world` on a socket, until the world's shutdown.
fn serve_api(world: &World, socket: &Path) -> impl Future<Output = std::io::Result<()>> + use<> {
    let requests = TaskTracker::new();
    let router = api_http::api(world.control.clone(), &requests).expect("a key");
    let listener = UnixListener::bind(socket).expect("binds");
    let drain = Duration::from_secs(60);
    api_http::serve(listener, router, requests, world.shutdown.clone(), drain)
}

/// Sends a request in full and stays for `patience`.
async fn send_and_leave(
    (socket, world): (&Path, &World),
    path: &str,
    kind: &str,
    body: &[u8],
    patience: Duration,
) {
    let token = world.client.token.as_deref().expect("logged in");
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: api.localhost\r\nAuthorization: bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut stream = UnixStream::connect(socket).await.expect("connects");
    stream.write_all(head.as_bytes()).await.expect("sends");
    stream.write_all(body).await.expect("sends");
    tokio::time::sleep(patience).await;
}

#[tokio::test]
async fn no_request_stays_half_done_whenever_its_client_leaves() {
    let world = World::logged_in().await;
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let server = tokio::spawn(serve_api(&world, &socket));
    let space = world.space().await;
    for number in 0..40 {
        let body = json!({ "name": format!("app-{number}"), "relationships": { "space": { "data": { "guid": space } } } });
        let body = body.to_string();
        let patience = Duration::from_micros(number * 500);
        let to = (socket.as_path(), &world);
        send_and_leave(
            to,
            "/v3/apps",
            "application/json",
            body.as_bytes(),
            patience,
        )
        .await;
    }
    world.shutdown.cancel();
    server.await.expect("no panic").expect("ends in peace");
    let total = async |path| world.client.read(path).await["pagination"]["total_results"].clone();
    let made = total("/v3/apps").await;
    assert_ne!(made, 0);
    // The last thing that the use case does.
    assert_eq!(total("/v3/audit_events?types=audit.app.create").await, made);
}

#[tokio::test]
async fn a_server_ends_after_what_clients_that_left_have_asked_for() {
    let world = World::logged_in().await;
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let server = tokio::spawn(serve_api(&world, &socket));
    let app = world.new_app("uploads").await;
    let package = world.new_package(&app).await;
    let content = vec![7; 8 << 20];
    let mut body =
        b"--b\r\nContent-Disposition: form-data; name=\"bits\"; filename=\"p\"\r\n\r\n".to_vec();
    body.extend(zip(&[("a", &content), ("b", &content)]));
    body.extend(b"\r\n--b--\r\n");
    let path = format!("/v3/packages/{package}/upload");
    let kind = "multipart/form-data; boundary=b";
    let leaving = send_and_leave((&socket, &world), &path, kind, &body, Duration::MAX);
    let received = eventually("the upload", || async {
        (world.scratch_files() > 0).then_some(())
    });
    tokio::select! {
        () = leaving => unreachable!("it has no end"),
        () = received => {}
    }
    world.shutdown.cancel();
    server.await.expect("no panic").expect("ends in peace");
    let package = world.client.read(&format!("/v3/packages/{package}")).await;
    assert_eq!(package["state"], "READY", "{package}");
    assert_eq!(world.scratch_files(), 0, "nothing is left behind");
}
