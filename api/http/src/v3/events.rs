//! Audit events.

use api_control::EventFilter;
use api_types::{AuditEvent, Page};
use axum::Json;

use crate::error::Outcome;
use crate::present;
use crate::request::Ask;

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<AuditEvent>>> {
    let query = ask.query(&["target_guids", "types", "space_guids", "organization_guids"])?;
    let filter = EventFilter {
        targets: query.texts("target_guids")?,
        types: query.texts("types")?,
        spaces: query.guids("space_guids")?,
        orgs: query.guids("organization_guids")?,
        newest_first: query.newest_first()?,
    };
    let events = ask
        .control
        .list_events(&ask.actor, &filter, query.page())
        .await?;
    Ok(Json(query.answer(&ask.urls, events, |event| {
        present::event(&ask.urls, event)
    })))
}
