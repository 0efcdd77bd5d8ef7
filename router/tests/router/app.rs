//! Apps behind the router: one that echoes the request it got, and ones that speak bytes by hand.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::ids::{AppId, InstanceId};
use model::protocol::router::Endpoint;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A listening app and the endpoint that names it.
pub(crate) struct App {
    pub(crate) endpoint: Endpoint,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

pub(crate) fn endpoint_at(address: SocketAddr, index: u32) -> Endpoint {
    let app = AppId::random();
    Endpoint {
        app,
        process: app.web_process(),
        instance: InstanceId::random(),
        index,
        address,
    }
}

/// An address where nobody listens.
pub(crate) async fn closed_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    listener.local_addr().expect("address")
}

impl App {
    /// Hands every connection to `serve`.
    pub(crate) async fn by_hand<F>(
        index: u32,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let endpoint = endpoint_at(listener.local_addr().expect("address"), index);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream));
            }
        });
        Self {
            endpoint,
            connections,
            _tasks: tasks,
        }
    }

    /// Answers 200 with the request as text: its first line, its headers in order, an empty line, its body.
    pub(crate) async fn echo(index: u32) -> Self {
        Self::by_hand(index, |stream| async move {
            let service = service_fn(echo);
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        })
        .await
    }

    /// How many connections it has accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

pub(crate) async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut text = format!(
        "{} {} {:?}\n",
        request.method(),
        request.uri(),
        request.version()
    );
    let mut headers: Vec<_> = request.headers().iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in headers {
        text.push_str(&format!(
            "{name}: {}\n",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    match request.into_body().collect().await {
        Ok(body) => {
            let trailers = body.trailers().cloned();
            text.push_str(&format!("\n{}", String::from_utf8_lossy(&body.to_bytes())));
            for (name, value) in trailers.iter().flat_map(http::HeaderMap::iter) {
                text.push_str(&format!(
                    "\ntrailer {name}: {}",
                    String::from_utf8_lossy(value.as_bytes())
                ));
            }
        }
        Err(error) => text.push_str(&format!("\nbroken body: {error}")),
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    if path == "/304" {
        *response.status_mut() = http::StatusCode::NOT_MODIFIED;
        *response.body_mut() = Full::default();
    }
    response.headers_mut().insert(
        "x-echoed",
        http::HeaderValue::try_from(method.as_str()).expect("a method"),
    );
    Ok(response)
}

/// Reads up to the end of a request's head; `None` when the other side closed before.
pub(crate) async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).expect("the router sends ASCII"))
}
