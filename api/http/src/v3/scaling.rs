//! How many instances a process has, and how large they are.

use api_control::{Scale, records};
use api_types::Process;
use axum::Json;
use http::StatusCode;
use model::ids::{AppId, ProcessId};
use model::limits::Megabytes;

use super::processes;
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::request::{Ask, Guid, ProcessType};

pub(crate) async fn scale(
    ask: Ask,
    Guid(id): Guid<ProcessId>,
    JsonBody(body): JsonBody<api_types::Scale>,
) -> Outcome<(StatusCode, Json<Process>)> {
    let process = ask.control.process(&ask.actor, id).await?;
    act(&ask, &process, &body).await
}

pub(crate) async fn scale_of_app(
    ask: Ask,
    Guid(app): Guid<AppId>,
    ProcessType(kind): ProcessType,
    JsonBody(body): JsonBody<api_types::Scale>,
) -> Outcome<(StatusCode, Json<Process>)> {
    let process = ask.control.app_process(&ask.actor, app, &kind).await?;
    act(&ask, &process, &body).await
}

async fn act(
    ask: &Ask,
    process: &records::Process,
    body: &api_types::Scale,
) -> Outcome<(StatusCode, Json<Process>)> {
    let scale = Scale {
        instances: body.instances,
        memory: body.memory_in_mb.map(Megabytes),
        disk: body.disk_in_mb.map(Megabytes),
        log_rate: log_rate(body.log_rate_limit_in_bytes_per_second)?,
    };
    let process = ask
        .control
        .scale_process(&ask.actor, process.id, scale)
        .await?;
    // Done, but for the instances themselves: Cloud Foundry says "accepted", without a job.
    Ok((StatusCode::ACCEPTED, processes::whole(ask, &process).await?))
}

/// Cloud Foundry's limit of the log rate: -1 for none.
pub(super) fn log_rate(limit: Option<i64>) -> Outcome<Option<Option<u64>>> {
    match limit {
        None => Ok(None),
        Some(-1) => Ok(Some(None)),
        Some(limit) => match u64::try_from(limit) {
            Ok(limit) => Ok(Some(Some(limit))),
            Err(_) => Err(ApiError::unprocessable(
                "Log rate limit in bytes per second must be greater than or equal to -1",
            )),
        },
    }
}
