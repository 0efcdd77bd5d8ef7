//! Bodies of requests: JSON and YAML, both small.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::error::{ApiError, Outcome};

/// Most bytes of a body that is not an upload.
const MAX_BYTES: usize = 1024 * 1024;
/// Resource lists are long: 5,000 entries with paths.
const MAX_LIST_BYTES: usize = 8 * 1024 * 1024;

/// A JSON body of at most 1 MiB.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

/// A JSON body of at most 8 MiB.
#[derive(Debug)]
pub(crate) struct LongJsonBody<T>(pub(crate) T);

/// A text of at most 1 MiB, for manifests.
#[derive(Debug)]
pub(crate) struct TextBody(pub(crate) String);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Outcome<Self> {
        json(request.into_body(), MAX_BYTES).await.map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for LongJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Outcome<Self> {
        json(request.into_body(), MAX_LIST_BYTES).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for TextBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Outcome<Self> {
        let bytes = read(request.into_body(), MAX_BYTES).await?;
        String::from_utf8(bytes.into())
            .map(Self)
            .map_err(|_| ApiError::unreadable("the body is not UTF-8"))
    }
}

/// All of a body, if it has at most `most` bytes.
pub(crate) async fn read(body: Body, most: usize) -> Outcome<Bytes> {
    match Limited::new(body, most).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(format!(
            "the request's body has more than {most} bytes"
        ))),
        Err(_) => Err(ApiError::unreadable("the body ended early")),
    }
}

async fn json<T: DeserializeOwned>(body: Body, most: usize) -> Outcome<T> {
    let bytes = read(body, most).await?;
    serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            ApiError::unprocessable(without_values(&error.to_string()))
        }
        _ => ApiError::unreadable("invalid request body"),
    })
}

/// A reader's complaint without the value it complains of: that may be a secret.
pub(crate) fn without_values(complaint: &str) -> String {
    let about_a_value = ["invalid type: ", "invalid value: ", "invalid length "]
        .iter()
        .any(|start| complaint.starts_with(start));
    match complaint.rfind("expected ") {
        Some(at) if about_a_value => complaint[at..].to_owned(),
        _ if complaint.starts_with("missing field") || complaint.starts_with("duplicate field") => {
            complaint.to_owned()
        }
        Some(at) => complaint[at..].to_owned(),
        None => "the request's body does not have the expected form".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_name_the_place_and_no_value() {
        for (complaint, want) in [
            (
                r#"invalid type: string "hunter2, expected x", expected u32 at line 1 column 9"#,
                "expected u32 at line 1 column 9",
            ),
            (
                "missing field `name` at line 1 column 2",
                "missing field `name` at line 1 column 2",
            ),
            (
                "unknown variant `hunter2`, expected `a` or `b`",
                "expected `a` or `b`",
            ),
            (
                "hunter2 is odd",
                "the request's body does not have the expected form",
            ),
        ] {
            assert_eq!(without_values(complaint), want);
        }
    }

    #[tokio::test]
    async fn bodies_have_a_limit() {
        let error = read(Body::from(vec![b'x'; 11]), 10)
            .await
            .expect_err("too long");
        assert!(format!("{error:?}").contains("413"), "{error:?}");
        assert_eq!(
            read(Body::from("0123456789"), 10)
                .await
                .expect("fits")
                .len(),
            10
        );
    }
}
