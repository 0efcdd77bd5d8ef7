//! Answers that the router itself gives. Each says what is wrong and what to do next.

use std::error::Error;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};

use super::access_log::AccessRecord;
use super::body::ResponseBody;
use super::headers::X_CF_ROUTER_ERROR;
use crate::table::Choice;

#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    /// The value of `X-Cf-RouterError`.
    error: &'static str,
    body: String,
    content_type: &'static str,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Failure {
    fn new(status: StatusCode, error: &'static str, message: &str, hint: &str) -> Self {
        let mut body = format!("{status}: {message}\n");
        if !hint.is_empty() {
            body.push_str(hint);
            body.push('\n');
        }
        Self {
            status,
            error,
            body,
            content_type: TEXT,
        }
    }

    pub(crate) fn bad_request(error: &'static str, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, message, "")
    }

    pub(crate) fn method_not_allowed(message: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request",
            message,
            "",
        )
    }

    pub(crate) fn unknown_route(host: &str) -> Self {
        let message = format!("Requested route ('{host}') does not exist.");
        let hint = "See which routes exist with: slipway routes";
        Self::new(StatusCode::NOT_FOUND, "unknown_route", &message, hint)
    }

    pub(crate) fn no_endpoints(host: &str) -> Self {
        let message = format!("Requested route ('{host}') has no available endpoints.");
        let hint = "No instance of its app is running and healthy; see why with: slipway app NAME, slipway logs NAME --recent";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_endpoints",
            &message,
            hint,
        )
    }

    pub(crate) fn no_table() -> Self {
        let message = "This router has not yet heard from its server which routes exist.";
        let hint = "Try again in a moment; if it lasts, the server is down and this router has no stored routes.";
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_route_table",
            message,
            hint,
        )
    }

    pub(crate) fn instance_absent(choice: Choice) -> Self {
        match choice {
            Choice::ProcessInstance(..) => Self::bad_request(
                "invalid_cf_process_instance_header",
                "the instance named in X-CF-Process-Instance does not run behind this route",
            ),
            Choice::Any | Choice::AppInstance(..) => Self::bad_request(
                "invalid_cf_app_instance_header",
                "the instance named in X-CF-App-Instance does not run behind this route",
            ),
        }
    }

    pub(crate) fn cannot_connect(is_timeout: bool) -> Self {
        let hint =
            "The platform starts another instance if this one is lost; see: slipway app NAME";
        if is_timeout {
            let message = "No instance of the app accepted a connection in time.";
            return Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "endpoint_failure (dial timeout)",
                message,
                hint,
            );
        }
        let message =
            "Registered endpoint failed to handle the request: no instance accepted a connection.";
        Self::new(StatusCode::BAD_GATEWAY, "endpoint_failure", message, hint)
    }

    pub(crate) fn broken_answer() -> Self {
        let message = "Registered endpoint failed to handle the request: it closed the connection or answered something \
                       that is not HTTP.";
        let hint = "See what the app wrote with: slipway logs NAME --recent";
        Self::new(StatusCode::BAD_GATEWAY, "endpoint_failure", message, hint)
    }

    pub(crate) fn answer_timeout() -> Self {
        let message = "The app accepted the request but did not begin to answer in time.";
        let hint = "See what the app wrote with: slipway logs NAME --recent";
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "endpoint_failure (answer timeout)",
            message,
            hint,
        )
    }

    /// The server does not answer; in the shape that Cloud Foundry's clients print.
    pub(crate) fn server_unavailable() -> Self {
        let body = serde_json::json!({"errors": [{
            "code": 10015,
            "title": "CF-ServiceUnavailable",
            "detail": "the API server does not answer; apps keep running\n  try        the same again in a moment",
        }]});
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: "server_unavailable",
            body: format!("{body}\n"),
            content_type: "application/json; charset=utf-8",
        }
    }

    /// The same as [`Failure::into_response`], in bytes.
    pub(crate) fn into_bytes(
        self,
        record: &mut AccessRecord,
        request_id: &HeaderValue,
        is_head_only: bool,
    ) -> Vec<u8> {
        let status = self.status;
        let text = self.body.clone();
        let response = self.into_response(record);
        record.answers(status.as_u16());
        let reason = status.canonical_reason().unwrap_or_default();
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
        let mut put = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        };
        for (name, value) in response.headers() {
            put(name.as_str(), value.as_bytes());
        }
        put("x-vcap-request-id", request_id.as_bytes());
        put("content-length", text.len().to_string().as_bytes());
        bytes.extend_from_slice(b"\r\n");
        if !is_head_only {
            record.bytes_out = text.len() as u64;
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    pub(crate) fn into_response(self, record: &mut AccessRecord) -> Response<ResponseBody> {
        record.router_error = self.error;
        let mut response = Response::new(ResponseBody::text(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(X_CF_ROUTER_ERROR, HeaderValue::from_static(self.error));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-store"),
        );
        response
    }
}

/// An error with all its causes, for the log.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
