//! Apps.

use api_control::{AppChange, AppFilter, NewApp};
use api_types::{App, CreateApp, Included, Lifecycle, Page, UpdateApp};
use axum::Json;
use http::StatusCode;
use model::ids::AppId;
use model::secret::Env;

use super::{included, metadata};
use crate::answer::{Accepted, Warned, created};
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::request::{Ask, Guid, related};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<App>>> {
    let query = ask.query(&[
        "names",
        "guids",
        "space_guids",
        "organization_guids",
        "include",
        "label_selector",
    ])?;
    query.order(&["name"])?;
    let includes = query.includes(&["space", "space.organization", "org"])?;
    let filter = AppFilter {
        names: query.texts("names")?,
        guids: query.guids("guids")?,
        spaces: query.guids("space_guids")?,
        orgs: query.guids("organization_guids")?,
        labels: query.labels()?,
    };
    let apps = ask
        .control
        .list_apps(&ask.actor, &filter, query.page())
        .await?;
    let space_ids = apps.items.iter().map(|app| app.space).collect::<Vec<_>>();
    let mut page = query.answer(&ask.urls, apps, |app| present::app(&ask.urls, &app));
    if !includes.is_empty() {
        let (spaces, org_ids) = included::spaces(&ask, space_ids.into_iter()).await?;
        let with_orgs = includes.iter().any(|name| name != "space");
        let organizations = if with_orgs {
            included::orgs(&ask, org_ids.into_iter()).await?
        } else {
            Vec::new()
        };
        page.included = Some(Included {
            spaces,
            organizations,
            ..Included::default()
        });
    }
    Ok(Json(page))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<AppId>) -> Outcome<Json<App>> {
    let app = ask.control.app(&ask.actor, id).await?;
    Ok(Json(present::app(&ask.urls, &app)))
}

pub(crate) async fn create(
    ask: Ask,
    JsonBody(body): JsonBody<CreateApp>,
) -> Outcome<(StatusCode, Json<App>)> {
    let (buildpacks, stack) = lifecycle(body.lifecycle)?;
    let env = body.environment_variables.unwrap_or_default().into_iter();
    let new = NewApp {
        space: related(&body.relationships.space)?,
        name: body.name,
        buildpacks: buildpacks.unwrap_or_default(),
        stack,
        env: Env::from_iter(env.map(|(name, value)| (name, value.into_exposed()))),
        metadata: metadata::initial(body.metadata),
    };
    let app = ask.control.create_app(&ask.actor, new).await?;
    Ok(created(present::app(&ask.urls, &app)))
}

pub(crate) async fn update(
    ask: Ask,
    Guid(id): Guid<AppId>,
    JsonBody(body): JsonBody<UpdateApp>,
) -> Outcome<Json<App>> {
    let (buildpacks, stack) = lifecycle(body.lifecycle)?;
    let changes = body.metadata.unwrap_or_default();
    let change = AppChange {
        name: body.name,
        buildpacks,
        stack,
        labels: changes.labels,
        annotations: changes.annotations,
    };
    let app = ask.control.update_app(&ask.actor, id, change).await?;
    Ok(Json(present::app(&ask.urls, &app)))
}

pub(crate) async fn delete(ask: Ask, Guid(id): Guid<AppId>) -> Outcome<Accepted> {
    let job = ask.control.delete_app(&ask.actor, id).await?;
    Ok(Accepted::job(&ask.urls, &job))
}

pub(crate) async fn start(ask: Ask, Guid(id): Guid<AppId>) -> Outcome<Warned<App>> {
    let app = ask.control.start_app(&ask.actor, id).await?;
    let warnings = ask.control.app_warnings(&ask.actor, id).await?;
    Ok(Warned(warnings, present::app(&ask.urls, &app)))
}

pub(crate) async fn stop(ask: Ask, Guid(id): Guid<AppId>) -> Outcome<Json<App>> {
    let app = ask.control.stop_app(&ask.actor, id).await?;
    Ok(Json(present::app(&ask.urls, &app)))
}

pub(crate) async fn restart(ask: Ask, Guid(id): Guid<AppId>) -> Outcome<Warned<App>> {
    let app = ask.control.restart_app(&ask.actor, id).await?;
    let warnings = ask.control.app_warnings(&ask.actor, id).await?;
    Ok(Warned(warnings, present::app(&ask.urls, &app)))
}

/// Buildpacks and stack of a lifecycle, which must be `buildpack`.
pub(super) fn lifecycle(
    lifecycle: Option<Lifecycle>,
) -> Outcome<(Option<Vec<String>>, Option<String>)> {
    match lifecycle {
        None => Ok((None, None)),
        Some(lifecycle) if lifecycle.kind == "buildpack" => {
            Ok((lifecycle.data.buildpacks, lifecycle.data.stack))
        }
        Some(_) => Err(ApiError::unprocessable(
            "Lifecycle type must be buildpack; docker and cnb are not supported",
        )),
    }
}
