//! The inventory: what is open, and that nothing else is.

use std::collections::BTreeSet;

use api_control::Config;
use axum::body::Body;
use http::{StatusCode, header};

use super::*;

async fn control(data: &std::path::Path) -> Control {
    let config = Config {
        data: data.to_owned(),
        domain: "localhost".into(),
        front_port: 8080,
        admin_user: "admin".into(),
        admin_password: Some(String::from("a password").into()),
        version: "0.0.0".into(),
        bounds: api_control::Bounds::default(),
    };
    Control::open(config).await.expect("opens")
}

/// The path with a GUID for every GUID.
fn filled(path: &str) -> String {
    let fill = |segment: &str| match segment {
        "{type}" => "web".to_owned(),
        "{index}" => "0".to_owned(),
        "{name}" => "ssh".to_owned(),
        segment if segment.starts_with('{') => "6a617661-0000-4000-8000-000000000000".to_owned(),
        segment => segment.to_owned(),
    };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

async fn status(router: &Router, method: &Method, path: &str, token: Option<&str>) -> StatusCode {
    let mut request = http::Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    let request = request.body(Body::empty()).expect("a request");
    router
        .clone()
        .oneshot(request)
        .await
        .expect("infallible")
        .status()
}

#[tokio::test]
async fn every_route_that_is_not_open_needs_a_token() {
    let data = tempfile::tempdir().expect("a folder");
    let router = api(control(data.path()).await, &TaskTracker::new()).expect("a key");
    let mut open = BTreeSet::new();
    for route in list() {
        let path = filled(route.path);
        for token in [
            None,
            Some("bearer forged.to.ken"),
            Some("bearer"),
            Some("Basic Y2Y6"),
        ] {
            let status = status(&router, &route.method, &path, token).await;
            if route.open {
                assert!(
                    status != StatusCode::NOT_FOUND,
                    "{} {path}: {status}",
                    route.method
                );
            } else {
                assert_eq!(
                    status,
                    StatusCode::UNAUTHORIZED,
                    "{} {path} with {token:?}",
                    route.method
                );
            }
        }
        if route.open {
            open.insert(format!("{} {}", route.method, route.path));
        }
    }
    let expected = [
        "GET /",
        "GET /api/v1/info",
        "GET /login",
        "GET /token_key",
        "GET /token_keys",
        "GET /v3",
        "GET /v3/info",
        "POST /oauth/token",
    ];
    assert_eq!(open, expected.map(str::to_owned).into());
}

#[test]
fn every_route_is_listed_once() {
    let mut seen = BTreeSet::new();
    for route in list() {
        assert!(
            seen.insert((route.method.to_string(), route.path)),
            "{} {}",
            route.method,
            route.path
        );
    }
}

#[test]
fn trailing_slashes_are_dropped_and_queries_kept() {
    for (from, want) in [
        ("/", "/"),
        ("/v3/apps/", "/v3/apps"),
        ("/v3/apps//?names=a/", "/v3/apps?names=a/"),
        ("/v3/apps?x=/", "/v3/apps?x=/"),
        ("//", "//"),
    ] {
        let request = http::Request::builder()
            .uri(from)
            .body(Body::empty())
            .expect("a request");
        assert_eq!(without_trailing_slash(request).uri().to_string(), want);
    }
}
