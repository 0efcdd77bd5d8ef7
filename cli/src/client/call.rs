//! One call and its answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Payload;
use crate::error::{CliError, Exit, Outcome};

const USER_AGENT: &str = concat!("slipway/", env!("CARGO_PKG_VERSION"));

/// One call, before it is sent.
#[derive(Debug)]
pub(crate) struct Call {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) payload: Payload,
    pub(super) headers: Vec<(String, String)>,
    pub(super) authorized: bool,
    /// A failure is handed back as an answer.
    pub(super) any_status: bool,
}

impl Call {
    pub(crate) fn new(method: Method, url: impl Into<String>) -> Self {
        let url = url.into();
        Self {
            method,
            url,
            payload: Payload::None,
            headers: vec![],
            authorized: true,
            any_status: false,
        }
    }

    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub(crate) fn json(self, body: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(body).expect("requests are plain JSON");
        self.payload(Payload::Json(bytes.into()))
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// All of the request but its body. What cannot be sent is the fault of whoever typed it, and no try is made of it.
    pub(super) fn head(&self, token: Option<&str>) -> Outcome<http::request::Parts> {
        let uri: http::Uri = self.url.parse().map_err(|error| {
            let path = super::path_of(&self.url);
            CliError::usage(format!(
                "'{path}' is not a path that can be asked for: {error}"
            ))
            .hint("spaces and other special characters as %20")
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(content_type) = self.payload.content_type() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("bearer {token}")).map_err(|_| {
                CliError::usage("the token holds a line end, or something else that cannot be sent")
                    .hint("look at SLIPWAY_TOKEN")
                    .hint("slipway login")
            })?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        for (name, value) in &self.headers {
            let pair = HeaderName::try_from(name)
                .ok()
                .zip(HeaderValue::try_from(value).ok());
            let (name, value) = pair.ok_or_else(|| {
                CliError::usage(format!("'{name}' is not a header that can be sent"))
            })?;
            headers.insert(name, value);
        }
        let (mut head, ()) = http::Request::new(()).into_parts();
        (head.method, head.uri, head.headers) = (self.method.clone(), uri, headers);
        Ok(head)
    }

    pub(crate) fn without_token(mut self) -> Self {
        self.authorized = false;
        self
    }

    pub(crate) fn any_status(mut self) -> Self {
        self.any_status = true;
        self
    }
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The JSON of the answer. No body stands for an empty object, as `cf` reads 204.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Outcome<T> {
        let bytes: &[u8] = if self.body.is_empty() {
            b"{}"
        } else {
            &self.body
        };
        serde_json::from_slice(bytes).map_err(|error| {
            let message =
                format!("the server answered with something that is not its API ({error})");
            CliError::new("E-SERVER", Exit::Other, message)
                .hint("slipway api URL  with the address of a Slipway or Cloud Foundry API")
        })
    }

    pub(crate) fn is_json(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE);
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
    }

    pub(crate) fn location(&self) -> Option<&str> {
        self.headers.get(header::LOCATION)?.to_str().ok()
    }
}
