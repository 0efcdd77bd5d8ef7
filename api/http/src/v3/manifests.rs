//! Manifests: the greater part of a push.

use api_types::ManifestDiff;
use axum::Json;
use http::{HeaderName, StatusCode, header};
use model::ids::{AppId, SpaceId};

use crate::answer::Accepted;
use crate::body::TextBody;
use crate::error::Outcome;
use crate::present;
use crate::request::{Ask, Guid};

pub(crate) async fn apply(
    ask: Ask,
    Guid(space): Guid<SpaceId>,
    TextBody(yaml): TextBody,
) -> Outcome<Accepted> {
    let job = ask.control.apply_manifest(&ask.actor, space, &yaml).await?;
    Ok(Accepted::job(&ask.urls, &job))
}

pub(crate) async fn diff(
    ask: Ask,
    Guid(space): Guid<SpaceId>,
    TextBody(yaml): TextBody,
) -> Outcome<(StatusCode, Json<ManifestDiff>)> {
    let changes = ask.control.manifest_diff(&ask.actor, space, &yaml).await?;
    Ok((StatusCode::ACCEPTED, Json(present::manifest_diff(changes))))
}

/// `cf create-app-manifest` writes the body to a file as it is.
pub(crate) async fn of_app(
    ask: Ask,
    Guid(app): Guid<AppId>,
) -> Outcome<([(HeaderName, &'static str); 1], String)> {
    let yaml = ask.control.app_manifest(&ask.actor, app).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-yaml")], yaml))
}
