//! Organizations.

use api_types::{CreateOrganization, Metadata, Organization, Page, ToOne, UpdateOrganization};
use axum::Json;
use http::StatusCode;
use model::ids::OrgId;

use super::metadata;
use crate::answer::{Accepted, created};
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::request::{Ask, Guid};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Organization>>> {
    let query = ask.query(&["names", "guids", "label_selector"])?;
    query.order(&["name"])?;
    let (names, guids) = (query.texts("names")?, query.guids("guids")?);
    let orgs = if query.wants_unlabelled()? {
        ask.control
            .list_orgs(&ask.actor, &names, &guids, query.page())
            .await?
    } else {
        query.part(Vec::new())
    };
    Ok(Json(query.answer(&ask.urls, orgs, |org| {
        present::org(&ask.urls, &org)
    })))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<OrgId>) -> Outcome<Json<Organization>> {
    let org = ask.control.org(&ask.actor, id).await?;
    Ok(Json(present::org(&ask.urls, &org)))
}

pub(crate) async fn create(
    ask: Ask,
    JsonBody(body): JsonBody<CreateOrganization>,
) -> Outcome<(StatusCode, Json<Organization>)> {
    check(body.suspended, body.metadata.as_ref())?;
    let org = ask.control.create_org(&ask.actor, &body.name).await?;
    Ok(created(present::org(&ask.urls, &org)))
}

pub(crate) async fn update(
    ask: Ask,
    Guid(id): Guid<OrgId>,
    JsonBody(body): JsonBody<UpdateOrganization>,
) -> Outcome<Json<Organization>> {
    check(body.suspended, body.metadata.as_ref())?;
    let org = match body.name {
        Some(name) => ask.control.rename_org(&ask.actor, id, &name).await?,
        None => ask.control.org(&ask.actor, id).await?,
    };
    Ok(Json(present::org(&ask.urls, &org)))
}

pub(crate) async fn delete(ask: Ask, Guid(id): Guid<OrgId>) -> Outcome<Accepted> {
    let job = ask.control.delete_org(&ask.actor, id).await?;
    Ok(Accepted::job(&ask.urls, &job))
}

fn check(suspended: Option<bool>, metadata: Option<&Metadata>) -> Outcome<()> {
    if suspended == Some(true) {
        return Err(ApiError::unprocessable(
            "suspending an organization is not supported yet",
        ));
    }
    metadata::refuse(metadata, "organizations")
}

/// None: there are no isolation segments.
pub(crate) async fn isolation_segment(ask: Ask, Guid(id): Guid<OrgId>) -> Outcome<Json<ToOne>> {
    ask.control.org(&ask.actor, id).await?;
    Ok(Json(ToOne::none()))
}
