//! What surrounds every request: its id, its span, and the one place where internal causes are logged.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::error::Cause;

pub(crate) const X_VCAP_REQUEST_ID: HeaderName = HeaderName::from_static("x-vcap-request-id");

/// Longer ids are a client's mischief.
const MAX_ID_BYTES: usize = 200;

/// Gives a request the id that the router gave it, or a new one, and hands it back in the answer.
pub(crate) async fn surround(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let shown = id.to_str().unwrap_or_default().to_owned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", request.id = %shown, http.method = %method, http.path = %path);
    let mut response = next.run(request).instrument(span).await;
    if let Some(Cause(cause)) = response.extensions_mut().remove::<Cause>() {
        let error: &dyn std::error::Error = &*cause;
        tracing::error!(request.id = %shown, http.method = %method, http.path = %path, error, "a request failed");
    }
    response.headers_mut().insert(X_VCAP_REQUEST_ID, id);
    response
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(X_VCAP_REQUEST_ID);
    let usable =
        given.filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES && id.to_str().is_ok());
    usable.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::new_v4().to_string()).expect("a GUID is a header value")
    })
}
