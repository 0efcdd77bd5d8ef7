//! One error for all answers that are not a success.

use std::error::Error as StdError;
use std::sync::Arc;

use api_control::Error;
use api_types::details::title;
use api_types::{Errors, details};
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// What a client is told, and, apart from that, the cause for the log.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: u32,
    title: &'static str,
    detail: String,
    cause: Option<Cause>,
}

/// Travels in the response's extensions to [`crate::context`], which logs it once with the request's id.
#[derive(Debug, Clone)]
pub(crate) struct Cause(pub(crate) Arc<dyn StdError + Send + Sync>);

pub(crate) type Outcome<T> = Result<T, ApiError>;

impl ApiError {
    fn new(status: StatusCode, code: u32, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            cause: None,
        }
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            10010,
            title::RESOURCE_NOT_FOUND,
            format!("{what} not found"),
        )
    }

    /// The API has no such path or method.
    pub(crate) fn unknown_request() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            10000,
            title::NOT_FOUND,
            details::UNKNOWN_REQUEST,
        )
    }

    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            10008,
            title::UNPROCESSABLE,
            detail,
        )
    }

    /// The body is not what its content type says.
    pub(crate) fn unreadable(detail: impl std::fmt::Display) -> Self {
        let detail = format!("Request invalid due to parse error: {detail}");
        Self::new(
            StatusCode::BAD_REQUEST,
            1001,
            title::MESSAGE_PARSE_ERROR,
            detail,
        )
    }

    pub(crate) fn bad_query(detail: impl std::fmt::Display) -> Self {
        let detail = format!("The query parameter is invalid: {detail}");
        Self::new(
            StatusCode::BAD_REQUEST,
            10005,
            title::BAD_QUERY_PARAMETER,
            detail,
        )
    }

    pub(crate) fn invalid_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            10004,
            title::INVALID_REQUEST,
            detail,
        )
    }

    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            10008,
            title::UNPROCESSABLE,
            detail,
        )
    }

    /// No token came with the request.
    pub(crate) fn not_authenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            10002,
            title::NOT_AUTHENTICATED,
            "Authentication error",
        )
    }

    /// A token came that this server does not accept; why is nobody's business.
    pub(crate) fn invalid_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            1000,
            title::INVALID_AUTH_TOKEN,
            "Invalid Auth Token",
        )
    }

    /// With another status.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    fn caused_by(mut self, cause: Error) -> Self {
        self.cause = Some(Cause(Arc::new(cause)));
        self
    }

    pub(crate) fn internal(cause: Arc<dyn StdError + Send + Sync>) -> Self {
        let detail = "An unknown error occurred.";
        let error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            10001,
            "UnknownError",
            detail,
        );
        Self {
            cause: Some(Cause(cause)),
            ..error
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { what } => Self::not_found(what),
            Error::Unprocessable(detail) => Self::unprocessable(detail),
            Error::Conflict(detail) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                10016,
                "CF-UniquenessError",
                detail,
            ),
            Error::BadRequest(detail) => Self::invalid_request(detail),
            Error::NoCapacity(detail) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                170_008,
                title::INSUFFICIENT_RESOURCES,
                detail,
            ),
            // `cf` shows the text of a 422 as it is.
            Error::NoRoom(detail) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                170_008,
                title::INSUFFICIENT_RESOURCES,
                detail,
            ),
            error @ Error::DiskFull(_) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                170_008,
                title::INSUFFICIENT_RESOURCES,
                error.to_string(),
            )
            .caused_by(error),
            error @ Error::Busy(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                10015,
                "CF-ServiceUnavailable",
                error.to_string(),
            )
            .caused_by(error),
            Error::TooLarge(detail) => Self::too_large(detail),
            Error::Unavailable(detail) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                10015,
                "CF-ServiceUnavailable",
                detail,
            ),
            error @ Error::Internal(_) => Self::internal(Arc::new(error)),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (
            self.status,
            Json(Errors::one(self.code, self.title, self.detail)),
        )
            .into_response();
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}

/// The answer to paths and methods that the API does not have.
pub(crate) async fn unknown_request() -> ApiError {
    ApiError::unknown_request()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn internal_causes_travel_to_the_log_and_not_to_the_client() {
        let cause = std::io::Error::other("disk of tenant 7 is full");
        let response = ApiError::from(Error::Internal(cause.into())).into_response();
        let Cause(logged) = response
            .extensions()
            .get::<Cause>()
            .cloned()
            .expect("a cause");
        assert!(format!("{logged:?}").contains("tenant 7"));
        let body = axum::body::to_bytes(response.into_body(), 1000)
            .await
            .expect("a body");
        let want = r#"{"errors":[{"code":10001,"title":"UnknownError","detail":"An unknown error occurred."}]}"#;
        assert_eq!(body, want);
    }

    #[test]
    fn domain_errors_have_cloud_foundrys_numbers() {
        for (error, status, code) in [
            (Error::NotFound { what: "App" }, 404, 10010),
            (Error::Unprocessable("x".into()), 422, 10008),
            (Error::Conflict("x".into()), 422, 10016),
            (Error::BadRequest("x".into()), 400, 10004),
            (Error::NoCapacity("x".into()), 422, 170_008),
            (Error::TooLarge("x".into()), 413, 10008),
            (Error::Unavailable("x".into()), 503, 10015),
            (Error::NoRoom("x".into()), 422, 170_008),
            (
                Error::DiskFull(std::io::Error::other("x").into()),
                507,
                170_008,
            ),
            (Error::Busy(std::io::Error::other("x").into()), 503, 10015),
        ] {
            let shown = ApiError::from(error);
            assert_eq!(
                (shown.status.as_u16(), shown.code),
                (status, code),
                "{shown:?}"
            );
        }
    }
}
