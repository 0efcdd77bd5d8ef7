//! A client that asks the router directly.

use std::net::IpAddr;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

#[derive(Debug, Clone)]
pub(crate) struct Client {
    router: Router,
    pub(crate) token: Option<String>,
    pub(crate) address: Option<IpAddr>,
    host: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// `errors[0].detail`
    #[track_caller]
    pub(crate) fn detail(&self) -> String {
        self.json()["errors"][0]["detail"]
            .as_str()
            .unwrap_or_else(|| panic!("no error in {self:?}"))
            .to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Client {
    pub(crate) fn new(router: Router) -> Self {
        Self {
            router,
            token: None,
            address: None,
            host: "127.0.0.1:8080".into(),
        }
    }

    pub(crate) fn with_host(&self, host: &str) -> Self {
        Self {
            host: host.into(),
            ..self.clone()
        }
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.into()),
            ..self.clone()
        }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("bearer {token}"));
        }
        if let Some(address) = self.address {
            // Behind a proxy of the operator's, which is the last of the chain for everybody.
            request = request
                .header("x-forwarded-for", format!("{address}, 10.1.1.1"))
                .header("x-slipway-client", address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a request");
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            Method::POST,
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(
            Method::PATCH,
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    pub(crate) async fn yaml(&self, path: &str, body: &str) -> Answer {
        self.send(
            Method::POST,
            path,
            &[("content-type", "application/x-yaml")],
            body.to_owned(),
        )
        .await
    }

    pub(crate) async fn form(&self, path: &str, body: &str) -> Answer {
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", "Basic Y2Y6"),
        ];
        let anonymous = Self {
            token: None,
            ..self.clone()
        };
        anonymous
            .send(Method::POST, path, &headers, body.to_owned())
            .await
    }

    /// The JSON of a call that must succeed.
    #[track_caller]
    pub(crate) fn ok(answer: &Answer) -> Value {
        assert!(answer.status.is_success(), "{answer:?}");
        answer.json()
    }

    pub(crate) async fn read(&self, path: &str) -> Value {
        Self::ok(&self.get(path).await)
    }

    /// Follows the `Location` of an accepted operation, as `cf` does.
    pub(crate) async fn job(&self, answer: &Answer) -> Value {
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let location = answer.header("location").expect("a Location").to_owned();
        let path = location
            .strip_prefix("http://127.0.0.1:8080")
            .expect("an absolute address at the client's host");
        self.read(path).await
    }

    /// Multipart parts in this order; a file name makes a part a file.
    pub(crate) async fn upload(&self, path: &str, parts: &[(&str, Option<&str>, &[u8])]) -> Answer {
        let mut body = Vec::new();
        for (name, file, content) in parts {
            let file = file
                .map(|file| format!("; filename=\"{file}\""))
                .unwrap_or_default();
            body.extend(
                format!(
                    "--b0undary\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
                )
                .into_bytes(),
            );
            body.extend_from_slice(content);
            body.extend(b"\r\n");
        }
        body.extend(b"--b0undary--\r\n");
        let length = body.len().to_string();
        let headers = [
            ("content-type", "multipart/form-data; boundary=b0undary"),
            ("content-length", length.as_str()),
        ];
        self.send(Method::POST, path, &headers, body).await
    }
}
