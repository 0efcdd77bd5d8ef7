//! An answer that is no success → what people read.

use api_types::details::{UNKNOWN_REQUEST, title};
use api_types::{ErrorEntry, Errors};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::error::{CliError, Exit};

pub(super) fn read(
    method: &Method,
    url: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &Bytes,
) -> CliError {
    let errors = serde_json::from_slice::<Errors>(body)
        .map(|errors| errors.errors)
        .unwrap_or_default();
    let path = super::path_of(url);
    let path = path.split('?').next().unwrap_or(&path);
    let Some(first) = errors.first() else {
        return unreadable(method, path, status, headers);
    };
    let mut error = of_entry(status, first, path);
    for other in errors.iter().skip(1) {
        error.evidence.push(other.detail.clone());
    }
    // What the router says of an absent server is in no log of that server.
    if status.is_server_error() && !headers.contains_key("x-cf-routererror") {
        error = with_request_id(error, headers);
    }
    error
}

fn of_entry(status: StatusCode, entry: &ErrorEntry, path: &str) -> CliError {
    let detail = entry.detail.as_str();
    let (code, exit) = classify(status, entry, path);
    let mut error = CliError::from_text(detail, code, exit);
    if status == StatusCode::UNAUTHORIZED {
        error.message = format!("the server does not accept the token: {}", error.message);
    }
    match status.as_u16() {
        401 => error
            .hint("slipway login")
            .hint("CI: set SLIPWAY_USERNAME and SLIPWAY_PASSWORD, or SLIPWAY_TOKEN"),
        403 => error
            .hint("slipway target")
            .hint("ask someone who manages the space"),
        404 if detail == UNKNOWN_REQUEST => {
            let message = format!("this server does not know {path}");
            CliError::new("E-UNSUPPORTED", Exit::Other, message).hint("slipway version")
        }
        _ => error,
    }
}

/// Code and exit of an error by status, then by Cloud Foundry's titles and words.
fn classify(status: StatusCode, entry: &ErrorEntry, path: &str) -> (&'static str, Exit) {
    let (name, detail) = (entry.title.as_str(), entry.detail.to_ascii_lowercase());
    let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
    match status.as_u16() {
        401 => ("E-LOGIN", Exit::Login),
        403 => ("E-ACCESS", Exit::Login),
        404 => ("E-NOTFOUND", Exit::NotFound),
        409 => ("E-CONFLICT", Exit::Conflict),
        413 => ("E-TOOLARGE", Exit::Usage),
        429 => ("E-BUSY", Exit::TryAgain),
        507 => ("E-DISK", Exit::Quota),
        502..=504 => ("E-SERVER", Exit::Unavailable),
        400..=499 => {
            if name == title::INSUFFICIENT_RESOURCES || says(&["fits no cell"]) {
                ("E-CAPACITY", Exit::Quota)
            } else if name == title::QUOTA_EXCEEDED || says(&["quota", "insufficient"]) {
                ("E-QUOTA", Exit::Quota)
            } else if says(&[
                "route already exists",
                "route is reserved",
                "reserved for the platform",
                "route is in use",
                "the platform's own address",
            ]) {
                ("E-ROUTE", Exit::Conflict)
            } else if says(&[
                "already exists",
                "is taken",
                "must be unique",
                "already bound",
            ]) {
                ("E-CONFLICT", Exit::Conflict)
            } else if path.ends_with("/upload") && says(&["more than"]) {
                ("E-TOOLARGE", Exit::Usage)
            } else if path.ends_with("apply_manifest") || path.ends_with("manifest_diff") {
                ("E-MANIFEST", Exit::Usage)
            } else {
                ("E-REFUSED", Exit::Other)
            }
        }
        _ => ("E-SERVER", Exit::Other),
    }
}

fn unreadable(method: &Method, path: &str, status: StatusCode, headers: &HeaderMap) -> CliError {
    let (code, exit) = match status.as_u16() {
        401 => ("E-LOGIN", Exit::Login),
        403 => ("E-ACCESS", Exit::Login),
        413 => ("E-TOOLARGE", Exit::Usage),
        502..=504 => ("E-SERVER", Exit::Unavailable),
        _ => ("E-SERVER", Exit::Other),
    };
    let mut error = CliError::new(
        code,
        exit,
        format!("the server answered {method} {path} with {status}"),
    );
    if let Some(cause) = headers
        .get("x-cf-routererror")
        .and_then(|value| value.to_str().ok())
    {
        error = error.evidence("router", cause);
    }
    match status.as_u16() {
        401 => error.hint("slipway login"),
        404 => error.hint("slipway api URL  with the address of a Slipway or Cloud Foundry API"),
        _ => with_request_id(error, headers),
    }
}

fn with_request_id(error: CliError, headers: &HeaderMap) -> CliError {
    match headers
        .get("x-vcap-request-id")
        .and_then(|value| value.to_str().ok())
    {
        Some(id) => error.evidence("request", format!("{id}, to be found in the server's log")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, name: &str, detail: &str, path: &str) -> CliError {
        let body = serde_json::to_vec(&Errors::one(1, name, detail)).expect("JSON");
        let status = StatusCode::from_u16(status).expect("a status");
        read(
            &Method::GET,
            &format!("http://api{path}?q"),
            status,
            &HeaderMap::new(),
            &body.into(),
        )
    }

    #[test]
    fn every_failure_has_the_exit_code_that_scripts_rely_on() {
        for (status, name, detail, path, code, exit) in [
            (
                401,
                "CF-InvalidAuthToken",
                "Invalid Auth Token",
                "/v3/apps",
                "E-LOGIN",
                4,
            ),
            (
                403,
                "CF-NotAuthorized",
                "You are not authorized",
                "/v3/apps",
                "E-ACCESS",
                4,
            ),
            (
                404,
                "CF-ResourceNotFound",
                "App not found",
                "/v3/apps/x",
                "E-NOTFOUND",
                5,
            ),
            (
                404,
                "CF-NotFound",
                "Unknown request",
                "/v3/x",
                "E-UNSUPPORTED",
                1,
            ),
            (409, "CF-Conflict", "in progress", "/v3/x", "E-CONFLICT", 13),
            (
                422,
                "CF-UnprocessableEntity",
                "Route already exists with host 'a'",
                "/v3/routes",
                "E-ROUTE",
                13,
            ),
            (
                422,
                "CF-UnprocessableEntity",
                "The service instance name is taken: x",
                "/v3/x",
                "E-CONFLICT",
                13,
            ),
            (
                422,
                "CF-UnprocessableEntity",
                "For application 'a': an instance with 900G of memory fits no cell: the largest has 2G",
                "/v3/spaces/s/actions/apply_manifest",
                "E-CAPACITY",
                12,
            ),
            (
                422,
                "CF-UnprocessableEntity",
                "memory quota_exceeded",
                "/v3/x",
                "E-QUOTA",
                12,
            ),
            (
                422,
                "CF-UnprocessableEntity",
                "For application 'a': stack is unknown",
                "/v3/spaces/s/actions/apply_manifest",
                "E-MANIFEST",
                2,
            ),
            (
                422,
                "CF-UnprocessableEntity",
                "E-QUOTA space dev allows 2G",
                "/v3/x",
                "E-QUOTA",
                12,
            ),
            (
                422,
                "CF-UnprocessableEntity",
                "something else",
                "/v3/x",
                "E-REFUSED",
                1,
            ),
            (
                422,
                "CF-UnprocessableEntity",
                "the upload has more than 1024 MiB; leave out what the app does not need with .cfignore",
                "/v3/packages/x/upload",
                "E-TOOLARGE",
                2,
            ),
            (
                413,
                "CF-UnprocessableEntity",
                "a body has at most 1 MiB",
                "/v3/x",
                "E-TOOLARGE",
                2,
            ),
            (
                429,
                "CF-RateLimitExceeded",
                "slow down",
                "/v3/x",
                "E-BUSY",
                75,
            ),
            (
                500,
                "CF-UnknownError",
                "An unknown error occurred.",
                "/v3/x",
                "E-SERVER",
                1,
            ),
            (
                503,
                "CF-ServiceUnavailable",
                "starting",
                "/v3/x",
                "E-SERVER",
                69,
            ),
        ] {
            let error = failure(status, name, detail, path);
            assert_eq!(
                (error.code.as_str(), error.exit_code()),
                (code, exit),
                "{detail}"
            );
        }
    }

    #[test]
    fn a_proxy_that_refuses_the_size_ends_with_2() {
        let (headers, body) = (HeaderMap::new(), Bytes::from_static(b"<html>"));
        let url = "http://api.example.com/v3/packages/x/upload";
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        let error = read(&Method::POST, url, status, &headers, &body);
        assert_eq!((error.code.as_str(), error.exit_code()), ("E-TOOLARGE", 2));
    }

    #[test]
    fn an_answer_that_is_not_the_apis_names_the_call() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-cf-routererror",
            "unknown_route".parse().expect("a header"),
        );
        let url = "http://hello.localhost:8080/v3/apps";
        let error = read(
            &Method::GET,
            url,
            StatusCode::NOT_FOUND,
            &headers,
            &Bytes::from_static(b"<html>"),
        );
        insta::assert_snapshot!(error, @r"
        ✗ E-SERVER the server answered GET /v3/apps with 404 Not Found
          router     unknown_route
          try        slipway api URL  with the address of a Slipway or Cloud Foundry API
        ");
    }
}
