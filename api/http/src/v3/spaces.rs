//! Spaces.

use api_control::SpaceFilter;
use api_types::{Included, Page, Space, ToOne};
use axum::Json;
use model::ids::SpaceId;

use super::included;
use crate::error::Outcome;
use crate::present;
use crate::request::{Ask, Guid};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Space>>> {
    let query = ask.query(&["names", "guids", "organization_guids", "include"])?;
    query.order(&["name"])?;
    let includes = query.includes(&["organization", "org"])?;
    let filter = SpaceFilter {
        names: query.texts("names")?,
        guids: query.guids("guids")?,
        orgs: query.guids("organization_guids")?,
    };
    let spaces = ask
        .control
        .list_spaces(&ask.actor, &filter, query.page())
        .await?;
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

/// None: there are no isolation segments.
pub(crate) async fn isolation_segment(ask: Ask, Guid(id): Guid<SpaceId>) -> Outcome<Json<ToOne>> {
    ask.control.space(&ask.actor, id).await?;
    Ok(Json(ToOne::none()))
}
