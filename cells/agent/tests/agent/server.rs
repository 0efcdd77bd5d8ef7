//! The server's internal socket: sessions, blobs, streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::protocol::cell::UPGRADE;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::session::Session;

#[derive(Default)]
pub(crate) struct Server {
    pub(crate) blobs: Mutex<HashMap<String, Bytes>>,
    /// Names of blobs that were asked for, in order.
    pub(crate) fetched: Mutex<Vec<String>>,
    /// Whether blobs that are sent have to wait.
    pub(crate) holds_uploads: watch::Sender<bool>,
    pub(crate) streams: Mutex<HashMap<String, oneshot::Sender<Bytes>>>,
}

pub(crate) async fn serve(
    listener: UnixListener,
    server: Arc<Server>,
    sessions: mpsc::Sender<Session>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (server, sessions) = (server.clone(), sessions.clone());
        connections.spawn(async move {
            let service =
                service_fn(move |request| answer(request, server.clone(), sessions.clone()));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

async fn answer(
    mut request: Request<Incoming>,
    server: Arc<Server>,
    sessions: mpsc::Sender<Session>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().path().to_owned();
    let reply = |status, body| {
        Response::builder()
            .status(status)
            .body(Full::new(body))
            .unwrap()
    };
    if path.starts_with("/internal/cells/") && path.ends_with("/session") {
        assert_eq!(request.headers()["upgrade"], UPGRADE);
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let frames = Framed::new(
                TokioIo::new(upgrade.await.unwrap()),
                LengthDelimitedCodec::new(),
            );
            let (inbox, instances, tasks, strangers) = (vec![], vec![], vec![], vec![]);
            let session = Session {
                frames,
                seq: 0,
                epoch: 5,
                inbox,
                hello: None,
                instances,
                tasks,
                strangers,
            };
            let _ = sessions.send(session).await;
        });
        let switching = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        return Ok(switching
            .header("connection", "upgrade")
            .header("upgrade", UPGRADE)
            .body(Full::default())
            .unwrap());
    }
    if let Some(stream) = path.strip_prefix("/internal/streams/") {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        if let Some(waiting) = server.streams.lock().unwrap().remove(stream) {
            let _ = waiting.send(body);
        }
        return Ok(reply(StatusCode::NO_CONTENT, Bytes::new()));
    }
    let blob = path
        .strip_prefix("/internal/blobs/")
        .expect("a known path")
        .to_owned();
    let stored = server.blobs.lock().unwrap().get(&blob).cloned();
    Ok(match (request.method().clone(), stored) {
        (Method::PUT, _) => {
            let mut held = server.holds_uploads.subscribe();
            held.wait_for(|held| !held).await.unwrap();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            server.blobs.lock().unwrap().insert(blob, body);
            reply(StatusCode::CREATED, Bytes::new())
        }
        (method, Some(body)) => {
            if method == Method::GET {
                server.fetched.lock().unwrap().push(blob);
            }
            reply(StatusCode::OK, body)
        }
        (_, None) => reply(StatusCode::NOT_FOUND, Bytes::from_static(b"no such blob")),
    })
}
