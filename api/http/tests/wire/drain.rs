//! How a server ends.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, header};
use http_body_util::BodyExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cell::send;

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
            let refused = crate::world::eventually("refusal", || async {
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
