//! Answers that many handlers give.

use api_control::records::Job;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::form;
use crate::urls::Urls;

const X_CF_WARNINGS: HeaderName = HeaderName::from_static("x-cf-warnings");

pub(crate) fn created<T: Serialize>(body: T) -> (StatusCode, Json<T>) {
    (StatusCode::CREATED, Json(body))
}

/// The operation goes on as a job. Only then an answer has a `Location`, since clients poll every `Location` they see.
#[derive(Debug)]
pub(crate) struct Accepted(String);

impl Accepted {
    pub(crate) fn job(urls: &Urls, job: &Job) -> Self {
        Self(urls.to(&format!("/v3/jobs/{}", job.id)))
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        (
            StatusCode::ACCEPTED,
            [(header::LOCATION, self.0)],
            Json(serde_json::json!({})),
        )
            .into_response()
    }
}

/// An answer with things that the person should know, in `X-Cf-Warnings`.
#[derive(Debug)]
pub(crate) struct Warned<T>(pub(crate) Vec<String>, pub(crate) T);

impl<T: Serialize> IntoResponse for Warned<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.1).into_response();
        if !self.0.is_empty() {
            let escaped = self
                .0
                .iter()
                .map(|warning| form::escape(warning).to_string())
                .collect::<Vec<_>>()
                .join(",");
            let value = HeaderValue::from_str(&escaped).expect("escaped texts are ASCII");
            response.headers_mut().insert(X_CF_WARNINGS, value);
        }
        response
    }
}
