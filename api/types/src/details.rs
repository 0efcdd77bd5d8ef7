//! Texts in `errors[].detail` (and in a build's `error`) by which clients, `cf` among them, tell failures apart.
//!
//! They are part of the wire: a server that words them differently breaks the client's control flow.

/// 404.
pub const APP_NOT_FOUND: &str = "App not found";
/// 404; also the answer to `droplets/current` of an app that has none.
pub const DROPLET_NOT_FOUND: &str = "Droplet not found";
pub const DEPLOYMENT_NOT_FOUND: &str = "Deployment not found";
pub const FEATURE_FLAG_NOT_FOUND: &str = "Feature flag not found";
pub const INSTANCE_NOT_FOUND: &str = "Instance not found";
pub const PROCESS_NOT_FOUND: &str = "Process not found";
pub const USER_NOT_FOUND: &str = "User not found";
/// 404 for a path that the API does not have.
pub const UNKNOWN_REQUEST: &str = "Unknown request";

/// 400.
pub const PACKAGE_NOT_READY: &str = "Bad request: Cannot stage package whose state is not ready.";

/// 422. Contained in the detail.
pub const ROUTE_ALREADY_EXISTS: &str = "Route already exists";
pub const SPACE_NAME_TAKEN: &str = "Name must be unique per organization";
pub const SERVICE_INSTANCE_NAME_TAKEN: &str = "The service instance name is taken";
pub const ALREADY_BOUND: &str = "The app is already bound to the service instance";
pub const ASSIGN_A_DROPLET: &str = "Assign a droplet before starting this app.";
pub const UNKNOWN_BUILDPACK: &str =
    "Buildpack must be an existing admin buildpack or a valid git URI";

/// 422.
#[must_use]
pub fn app_name_taken(name: &str) -> String {
    format!("App with the name '{name}' already exists.")
}

/// 422.
#[must_use]
pub fn organization_exists(name: &str) -> String {
    format!("Organization '{name}' already exists.")
}

/// How the `error` of a build begins when no buildpack recognised the source. `cf` looks for the word.
pub const NO_APP_DETECTED: &str = "NoAppDetectedError";
/// How the `error` of a build begins when a buildpack failed.
pub const BUILD_FAILED: &str = "BuildpackCompileFailed";
/// How the `error` of a build begins when no cell could take it.
pub const INSUFFICIENT_RESOURCES: &str = "InsufficientResources";
/// How the `error` of a build begins when it ran out of time.
pub const STAGING_TIME_EXPIRED: &str = "StagingTimeExpired";

/// Titles of [`crate::ErrorEntry`].
pub mod title {
    /// 401. No refresh and no retry follows in `cf`.
    pub const INVALID_AUTH_TOKEN: &str = "CF-InvalidAuthToken";
    /// 401 without any token.
    pub const NOT_AUTHENTICATED: &str = "CF-NotAuthenticated";
    pub const NOT_AUTHORIZED: &str = "CF-NotAuthorized";
    pub const RESOURCE_NOT_FOUND: &str = "CF-ResourceNotFound";
    pub const NOT_FOUND: &str = "CF-NotFound";
    pub const UNPROCESSABLE: &str = "CF-UnprocessableEntity";
    pub const MESSAGE_PARSE_ERROR: &str = "CF-MessageParseError";
    pub const INVALID_REQUEST: &str = "CF-InvalidRequest";
    pub const BAD_QUERY_PARAMETER: &str = "CF-BadQueryParameter";
    pub const OPERATION_IN_PROGRESS: &str = "CF-AsyncServiceInstanceOperationInProgress";
    pub const QUOTA_EXCEEDED: &str = "CF-AppMemoryQuotaExceeded";
    pub const INSUFFICIENT_RESOURCES: &str = "CF-InsufficientResources";
}
