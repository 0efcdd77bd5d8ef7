//! Spaces.

use api_control::SpaceFilter;
use api_types::{AppFeature, CreateSpace, Included, Page, Space, ToOne, UpdateSpace};
use axum::Json;
use http::StatusCode;
use model::ids::SpaceId;

use super::{included, metadata};
use crate::answer::{Accepted, created};
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::request::{Ask, Guid, Name, related};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Space>>> {
    let query = ask.query(&[
        "names",
        "guids",
        "organization_guids",
        "include",
        "label_selector",
    ])?;
    query.order(&["name"])?;
    let includes = query.includes(&["organization", "org"])?;
    let filter = SpaceFilter {
        names: query.texts("names")?,
        guids: query.guids("guids")?,
        orgs: query.guids("organization_guids")?,
    };
    let spaces = if query.wants_unlabelled()? {
        ask.control
            .list_spaces(&ask.actor, &filter, query.page())
            .await?
    } else {
        query.part(Vec::new())
    };
    let org_ids = spaces
        .items
        .iter()
        .map(|space| space.org)
        .collect::<Vec<_>>();
    let mut page = query.answer(&ask.urls, spaces, |space| present::space(&ask.urls, &space));
    if !includes.is_empty() {
        let organizations = included::orgs(&ask, org_ids.into_iter()).await?;
        page.included = Some(Included {
            organizations,
            ..Included::default()
        });
    }
    Ok(Json(page))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<SpaceId>) -> Outcome<Json<Space>> {
    let space = ask.control.space(&ask.actor, id).await?;
    Ok(Json(present::space(&ask.urls, &space)))
}

pub(crate) async fn create(
    ask: Ask,
    JsonBody(body): JsonBody<CreateSpace>,
) -> Outcome<(StatusCode, Json<Space>)> {
    metadata::refuse(body.metadata.as_ref(), "spaces")?;
    let org = related(&body.relationships.organization)?;
    let space = ask
        .control
        .create_space(&ask.actor, org, &body.name)
        .await?;
    Ok(created(present::space(&ask.urls, &space)))
}

pub(crate) async fn update(
    ask: Ask,
    Guid(id): Guid<SpaceId>,
    JsonBody(body): JsonBody<UpdateSpace>,
) -> Outcome<Json<Space>> {
    metadata::refuse(body.metadata.as_ref(), "spaces")?;
    let space = match body.name {
        Some(name) => ask.control.rename_space(&ask.actor, id, &name).await?,
        None => ask.control.space(&ask.actor, id).await?,
    };
    Ok(Json(present::space(&ask.urls, &space)))
}

pub(crate) async fn delete(ask: Ask, Guid(id): Guid<SpaceId>) -> Outcome<Accepted> {
    let job = ask.control.delete_space(&ask.actor, id).await?;
    Ok(Accepted::job(&ask.urls, &job))
}

/// Nobody can log in to instances, in any space.
pub(crate) async fn feature(
    ask: Ask,
    Guid(id): Guid<SpaceId>,
    Name(name): Name,
) -> Outcome<Json<AppFeature>> {
    ask.control.space(&ask.actor, id).await?;
    if name != "ssh" {
        return Err(ApiError::not_found("Feature"));
    }
    Ok(Json(AppFeature {
        name,
        description: "Logging in to instances over ssh.".into(),
        enabled: false,
    }))
}

/// None: there are no isolation segments.
pub(crate) async fn isolation_segment(ask: Ask, Guid(id): Guid<SpaceId>) -> Outcome<Json<ToOne>> {
    ask.control.space(&ask.actor, id).await?;
    Ok(Json(ToOne::none()))
}
