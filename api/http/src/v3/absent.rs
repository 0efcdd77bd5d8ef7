//! Kinds of things that Cloud Foundry has and of which this platform has none. Clients ask for them on the way to other
//! things; their lists are truthfully empty.

use api_control::records;
use api_types::Page;
use axum::Json;
use model::ids::{AppId, ProcessId, SpaceId};
use serde_json::Value;

use crate::error::Outcome;
use crate::request::{Ask, Guid};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Value>>> {
    let query = ask.any_query()?;
    Ok(Json(query.answer(
        &ask.urls,
        records::Page {
            items: Vec::new(),
            total: 0,
        },
        |none| none,
    )))
}

pub(crate) async fn list_of_app(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Page<Value>>> {
    ask.control.app(&ask.actor, app).await?;
    list(ask).await
}

pub(crate) async fn list_of_space(
    ask: Ask,
    Guid(space): Guid<SpaceId>,
) -> Outcome<Json<Page<Value>>> {
    ask.control.space(&ask.actor, space).await?;
    list(ask).await
}

pub(crate) async fn list_of_process(
    ask: Ask,
    Guid(process): Guid<ProcessId>,
) -> Outcome<Json<Page<Value>>> {
    ask.control.process(&ask.actor, process).await?;
    list(ask).await
}
