//! What the server keeps and need not. Slipway's own.

use api_types::Collection;
use axum::Json;

use crate::error::Outcome;
use crate::present;
use crate::request::Ask;

/// What would go.
pub(crate) async fn show(ask: Ask) -> Outcome<Json<Collection>> {
    answer(&ask, true).await
}

pub(crate) async fn collect(ask: Ask) -> Outcome<Json<Collection>> {
    answer(&ask, false).await
}

async fn answer(ask: &Ask, dry: bool) -> Outcome<Json<Collection>> {
    let collection = ask.control.collect(&ask.actor, dry).await?;
    let room = ask.control.room(&ask.actor).await?;
    Ok(Json(present::collection(dry, &collection, room)))
}
