//! What surrounds every request: its id, its span, and the one place where internal causes are logged.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::error::Cause;

pub(crate) const X_VCAP_REQUEST_ID: HeaderName = HeaderName::from_static("x-vcap-request-id");

/// Longer ids are a client's mischief.
const MAX_ID_BYTES: usize = 200;

/// What the log calls a request.
#[derive(Debug, Clone)]
pub(crate) struct RequestName {
    id: String,
    method: Method,
    path: String,
}

impl RequestName {
    /// Logs the cause of a failure, at the first call for an answer.
    pub(crate) fn log_cause(&self, response: &mut Response) {
        if let Some(Cause(cause)) = response.extensions_mut().remove::<Cause>() {
            let error: &dyn std::error::Error = &*cause;
            tracing::error!(request.id = %self.id, http.method = %self.method, http.path = %self.path, error, "a request failed");
        }
    }
}

/// Gives a request the id that the router gave it, or a new one, and hands it back in the answer.
pub(crate) async fn surround(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let name = RequestName {
        id: id.to_str().unwrap_or_default().to_owned(),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
    };
    let span = tracing::info_span!("request", request.id = %name.id, http.method = %name.method, http.path = %name.path);
    request.extensions_mut().insert(name.clone());
    let mut response = next.run(request).instrument(span).await;
    name.log_cause(&mut response);
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
