//! Builds.

use api_control::BuildRequest;
use api_types::{Build, CreateBuild, Page};
use axum::Json;
use http::StatusCode;
use model::ids::{AppId, BuildId};
use model::limits::Megabytes;

use super::{apps, metadata};
use crate::answer::created;
use crate::body::JsonBody;
use crate::error::Outcome;
use crate::present;
use crate::query::Query;
use crate::request::{Ask, Guid, parsed};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Build>>> {
    let query = ask.query(&["app_guids", "package_guids"])?;
    let of_apps = query.guids("app_guids")?;
    answer(&ask, &query, &of_apps).await
}

pub(crate) async fn list_of_app(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Page<Build>>> {
    ask.control.app(&ask.actor, app).await?;
    let query = ask.query(&["package_guids"])?;
    answer(&ask, &query, &[app]).await
}

async fn answer(ask: &Ask, query: &Query, of_apps: &[AppId]) -> Outcome<Json<Page<Build>>> {
    query.order(&["-created_at"])?;
    let packages = query.guids("package_guids")?;
    let builds = ask
        .control
        .list_builds(&ask.actor, of_apps, &packages, query.page())
        .await?;
    Ok(Json(query.answer(&ask.urls, builds, |build| {
        present::build(&ask.urls, &build)
    })))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<BuildId>) -> Outcome<Json<Build>> {
    let build = ask.control.build(&ask.actor, id).await?;
    Ok(Json(present::build(&ask.urls, &build)))
}

pub(crate) async fn create(
    ask: Ask,
    JsonBody(body): JsonBody<CreateBuild>,
) -> Outcome<(StatusCode, Json<Build>)> {
    metadata::refuse(body.metadata.as_ref(), "builds")?;
    let (buildpacks, _) = apps::lifecycle(body.lifecycle)?;
    let request = BuildRequest {
        buildpacks,
        memory: body.staging_memory_in_mb.map(Megabytes),
        disk: body.staging_disk_in_mb.map(Megabytes),
    };
    let build = ask
        .control
        .create_build(&ask.actor, parsed(&body.package.guid)?, request)
        .await?;
    Ok(created(present::build(&ask.urls, &build)))
}
