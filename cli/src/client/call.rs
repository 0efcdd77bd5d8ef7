//! One call and its answer.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Payload;
use crate::error::{CliError, Exit, Outcome};

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

    pub(crate) fn location(&self) -> Option<&str> {
        self.headers.get(header::LOCATION)?.to_str().ok()
    }
}
