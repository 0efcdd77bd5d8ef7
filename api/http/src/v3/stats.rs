//! What instances do now.

use api_control::records;
use api_types::ProcessStats;
use axum::Json;
use http::StatusCode;
use model::ids::{AppId, ProcessId};

use crate::error::Outcome;
use crate::present;
use crate::request::{Ask, Guid, Index, ProcessType};

pub(crate) async fn show(ask: Ask, Guid(id): Guid<ProcessId>) -> Outcome<Json<ProcessStats>> {
    let process = ask.control.process(&ask.actor, id).await?;
    answer(&ask, &process).await
}

pub(crate) async fn show_of_app(
    ask: Ask,
    Guid(app): Guid<AppId>,
    ProcessType(kind): ProcessType,
) -> Outcome<Json<ProcessStats>> {
    let process = ask.control.app_process(&ask.actor, app, &kind).await?;
    answer(&ask, &process).await
}

async fn answer(ask: &Ask, process: &records::Process) -> Outcome<Json<ProcessStats>> {
    let rows = ask.control.process_stats(&ask.actor, process.id).await?;
    let now = now_us();
    let resources = rows
        .into_iter()
        .map(|row| present::stats(&process.process_type, row, now))
        .collect();
    Ok(Json(ProcessStats { resources }))
}

pub(crate) async fn restart_instance(
    ask: Ask,
    Guid(id): Guid<ProcessId>,
    Index(index): Index,
) -> Outcome<StatusCode> {
    ask.control.restart_instance(&ask.actor, id, index).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn restart_instance_of_app(
    ask: Ask,
    Guid(app): Guid<AppId>,
    ProcessType(kind): ProcessType,
    Index(index): Index,
) -> Outcome<StatusCode> {
    let process = ask.control.app_process(&ask.actor, app, &kind).await?;
    ask.control
        .restart_instance(&ask.actor, process.id, index)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Microseconds since the Unix epoch.
pub(super) fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
