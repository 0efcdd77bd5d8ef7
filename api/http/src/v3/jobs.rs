//! Jobs.

use api_types::Job;
use axum::Json;
use model::ids::JobId;

use crate::error::Outcome;
use crate::present;
use crate::request::{Ask, Guid};

pub(crate) async fn show(ask: Ask, Guid(id): Guid<JobId>) -> Outcome<Json<Job>> {
    let job = ask.control.job(&ask.actor, id).await?;
    Ok(Json(present::job(&ask.urls, job)))
}
