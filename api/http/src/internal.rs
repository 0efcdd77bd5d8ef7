//! What cells and routers ask. Served on the server's own unix socket, which only its user may open; so no tokens here.

use std::convert::Infallible;

use api_control::{Control, Error};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use model::ids::{CellId, StreamId};
use model::protocol::cell::UPGRADE;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{ApiError, Outcome};
use crate::request::Guid;

/// A layer beyond this is no layer; a cell's disk would be full before.
const MAX_BLOB_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// The internal API. Sessions of cells end, like every stream without an end of its own, at `shutdown`.
pub fn internal(control: Control, shutdown: CancellationToken) -> Router {
    let state = Internal {
        control,
        sessions: TaskTracker::new(),
        shutdown,
    };
    Router::new()
        .route("/internal/cells/{cell}/session", post(cell_session))
        .route(
            "/internal/blobs/{*name}",
            get(read_blob).head(blob_size).put(write_blob),
        )
        .route("/internal/streams/{stream}", post(stream))
        .route("/internal/routes", get(routes))
        .fallback(crate::error::unknown_request)
        .layer(axum::middleware::from_fn(crate::context::surround))
        .with_state(state)
}

#[derive(Debug, Clone)]
struct Internal {
    control: Control,
    sessions: TaskTracker,
    shutdown: CancellationToken,
}

/// The connection under an upgrade request.
struct Upgrade(OnUpgrade);

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Outcome<Self> {
        let asked = parts
            .headers
            .get(header::UPGRADE)
            .is_some_and(|protocol| protocol.as_bytes() == UPGRADE.as_bytes());
        let upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| asked);
        upgrade.map(Self).ok_or_else(|| {
            ApiError::invalid_request(format!("this path speaks '{UPGRADE}' after an upgrade"))
        })
    }
}

async fn cell_session(
    State(state): State<Internal>,
    Guid(cell): Guid<CellId>,
    Upgrade(upgrade): Upgrade,
) -> Response {
    let Internal {
        control,
        sessions,
        shutdown,
    } = state;
    let epoch = HeaderValue::from(control.epoch());
    sessions.spawn(async move {
        match upgrade.await {
            Ok(io) => control.cell_session(TokioIo::new(io), cell, shutdown).await,
            Err(error) => {
                tracing::warn!(cell.id = %cell, error = &error as &dyn std::error::Error, "a cell's upgrade failed");
            }
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static(UPGRADE)),
        // Before the first order: a cell notes it on disk ahead of its full report.
        (HeaderName::from_static("slipway-epoch"), epoch),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn blob_size(State(state): State<Internal>, Path(name): Path<String>) -> Outcome<Response> {
    let size = state
        .control
        .blob_size(&name)
        .await?
        .ok_or_else(|| ApiError::not_found("Blob"))?;
    Ok([(header::CONTENT_LENGTH, HeaderValue::from(size))].into_response())
}

async fn read_blob(State(state): State<Internal>, Path(name): Path<String>) -> Outcome<Response> {
    let (size, content) = state
        .control
        .read_blob(&name)
        .await?
        .ok_or_else(|| ApiError::not_found("Blob"))?;
    let headers = [
        (header::CONTENT_LENGTH, HeaderValue::from(size)),
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
    ];
    Ok((headers, Body::from_stream(content)).into_response())
}

async fn write_blob(
    State(state): State<Internal>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Outcome<StatusCode> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let too_large = || ApiError::too_large(format!("a blob has at most {MAX_BLOB_BYTES} bytes"));
    if announced.is_some_and(|length| length > MAX_BLOB_BYTES) {
        return Err(too_large());
    }
    let mut left = MAX_BLOB_BYTES;
    let content = body.into_data_stream().map(move |chunk| {
        let chunk = chunk.map_err(std::io::Error::other)?;
        left = left
            .checked_sub(chunk.len() as u64)
            .ok_or(std::io::ErrorKind::FileTooLarge)?;
        Ok::<Bytes, std::io::Error>(chunk)
    });
    let written = state
        .control
        .write_blob(&name, announced.unwrap_or(0), content)
        .await;
    match written {
        Ok(_) => Ok(StatusCode::CREATED),
        // A cell tells it from a layer that is refused for what it is.
        Err(error @ Error::NoRoom(_)) => {
            Err(ApiError::from(error).with_status(StatusCode::INSUFFICIENT_STORAGE))
        }
        Err(other) => Err(other.into()),
    }
}

/// The body goes to whoever asked for the stream, as fast as that one reads.
async fn stream(
    State(state): State<Internal>,
    Guid(stream): Guid<StreamId>,
    body: Body,
) -> Outcome<StatusCode> {
    let reader = state
        .control
        .stream_arrived(stream)
        .ok_or_else(|| ApiError::not_found("Stream"))?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else {
            return Err(ApiError::unreadable("the stream broke off"));
        };
        if reader.send(chunk).await.is_err() {
            // Whoever asked has enough.
            break;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn routes(State(state): State<Internal>) -> Response {
    let messages = state.control.follow_routes().map(|message| {
        let mut line = serde_json::to_vec(&message).expect("route messages are plain JSON");
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    let until = messages.take_until(state.shutdown.cancelled_owned());
    (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(until),
    )
        .into_response()
}
