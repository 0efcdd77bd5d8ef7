//! Organizations.

use api_types::{Organization, Page, ToOne};
use axum::Json;
use model::ids::OrgId;

use crate::error::Outcome;
use crate::present;
use crate::request::{Ask, Guid};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Organization>>> {
    let query = ask.query(&["names", "guids"])?;
    query.order(&["name"])?;
    let (names, guids) = (query.texts("names")?, query.guids("guids")?);
    let orgs = ask
        .control
        .list_orgs(&ask.actor, &names, &guids, query.page())
        .await?;
    Ok(Json(query.answer(&ask.urls, orgs, |org| {
        present::org(&ask.urls, &org)
    })))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<OrgId>) -> Outcome<Json<Organization>> {
    let org = ask.control.org(&ask.actor, id).await?;
    Ok(Json(present::org(&ask.urls, &org)))
}

/// None: there are no isolation segments.
pub(crate) async fn isolation_segment(ask: Ask, Guid(id): Guid<OrgId>) -> Outcome<Json<ToOne>> {
    ask.control.org(&ask.actor, id).await?;
    Ok(Json(ToOne::none()))
}
