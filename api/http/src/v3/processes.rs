//! Processes.

use std::time::Duration;

use api_control::{ProcessChange, ProcessFilter, records};
use api_types::{Page, Process, UpdateProcess};
use axum::Json;
use model::health::{HealthCheck, HealthCheckKind};
use model::ids::{AppId, ProcessId};

use super::metadata;
use super::stats::now_us;
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::query::Query;
use crate::request::{Ask, Guid, ProcessType};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Process>>> {
    let query = ask.query(&["guids", "app_guids", "space_guids", "types", "embed"])?;
    let filter = ProcessFilter {
        guids: query.guids("guids")?,
        apps: query.guids("app_guids")?,
        spaces: query.guids("space_guids")?,
    };
    answer(&ask, &query, &filter).await
}

pub(crate) async fn list_of_app(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Page<Process>>> {
    ask.control.app(&ask.actor, app).await?;
    let query = ask.query(&["guids", "types", "embed"])?;
    let filter = ProcessFilter {
        guids: query.guids("guids")?,
        apps: vec![app],
        ..ProcessFilter::default()
    };
    answer(&ask, &query, &filter).await
}

async fn answer(ask: &Ask, query: &Query, filter: &ProcessFilter) -> Outcome<Json<Page<Process>>> {
    query.order(&[])?;
    let embeds_instances = match query.first("embed") {
        None | Some("") => false,
        Some("process_instances") => true,
        Some(_) => {
            return Err(ApiError::bad_query(
                "Invalid embedded resource. Valid embedded resources are: 'process_instances'",
            ));
        }
    };
    if query.first("types").is_some() {
        return Err(ApiError::bad_query(
            "'types' is not supported here; ask an app for its process by type",
        ));
    }
    let processes = ask
        .control
        .list_processes(&ask.actor, filter, query.page())
        .await?;
    let known = processes.items.clone();
    let mut page = query.answer(&ask.urls, processes, |process| {
        present::process_in_list(&ask.urls, &process)
    });
    if embeds_instances {
        let now = now_us();
        for (process, known) in page.resources.iter_mut().zip(&known) {
            let rows = ask.control.stats_of(known);
            process.process_instances = Some(
                rows.iter()
                    .map(|row| present::process_instance(row, now))
                    .collect(),
            );
        }
    }
    Ok(Json(page))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<ProcessId>) -> Outcome<Json<Process>> {
    let process = ask.control.process(&ask.actor, id).await?;
    whole(&ask, &process).await
}

pub(crate) async fn show_of_app(
    ask: Ask,
    Guid(app): Guid<AppId>,
    ProcessType(kind): ProcessType,
) -> Outcome<Json<Process>> {
    let process = ask.control.app_process(&ask.actor, app, &kind).await?;
    whole(&ask, &process).await
}

pub(crate) async fn update(
    ask: Ask,
    Guid(id): Guid<ProcessId>,
    JsonBody(body): JsonBody<UpdateProcess>,
) -> Outcome<Json<Process>> {
    let process = ask.control.process(&ask.actor, id).await?;
    change(&ask, &process, body).await
}

pub(crate) async fn update_of_app(
    ask: Ask,
    Guid(app): Guid<AppId>,
    ProcessType(kind): ProcessType,
    JsonBody(body): JsonBody<UpdateProcess>,
) -> Outcome<Json<Process>> {
    let process = ask.control.app_process(&ask.actor, app, &kind).await?;
    change(&ask, &process, body).await
}

async fn change(
    ask: &Ask,
    process: &records::Process,
    body: UpdateProcess,
) -> Outcome<Json<Process>> {
    metadata::refuse(body.metadata.as_ref(), "processes")?;
    if body
        .readiness_health_check
        .is_some_and(|check| check.kind != "process")
    {
        return Err(ApiError::unprocessable(
            "readiness health checks other than 'process' are not supported",
        ));
    }
    let health = body
        .health_check
        .map(|wanted| health_check(&process.health, wanted))
        .transpose()?;
    let updated = ask
        .control
        .update_process(
            &ask.actor,
            process.id,
            ProcessChange {
                command: body.command,
                health,
            },
        )
        .await?;
    whole(ask, &updated).await
}

/// A process with its command, which the droplet may give.
pub(super) async fn whole(ask: &Ask, process: &records::Process) -> Outcome<Json<Process>> {
    let app = ask.control.app(&ask.actor, process.app).await?;
    let droplet = match app.current_droplet {
        Some(droplet) => Some(ask.control.droplet(&ask.actor, droplet).await?),
        None => None,
    };
    Ok(Json(present::process(&ask.urls, process, droplet.as_ref())))
}

/// What a request leaves out goes back to the default, but for the kind.
fn health_check(known: &HealthCheck, wanted: api_types::HealthCheck) -> Outcome<HealthCheck> {
    let seconds = |seconds: Option<u32>, default| {
        seconds.map_or(default, |seconds| Duration::from_secs(seconds.into()))
    };
    let kind = match wanted.kind.as_str() {
        "port" => HealthCheckKind::Port,
        "process" => HealthCheckKind::Process,
        "http" => HealthCheckKind::Http {
            endpoint: wanted.data.endpoint.unwrap_or_else(|| "/".into()),
        },
        "" => known.kind.clone(),
        _ => {
            return Err(ApiError::unprocessable(
                "Health check type must be \"port\", \"process\", or \"http\"",
            ));
        }
    };
    if wanted.data.invocation_timeout == Some(0) {
        return Err(ApiError::unprocessable(
            "Health check invocation_timeout must be greater than or equal to 1",
        ));
    }
    Ok(HealthCheck {
        kind,
        start_timeout: seconds(wanted.data.timeout, HealthCheck::START_TIMEOUT),
        invocation_timeout: seconds(
            wanted.data.invocation_timeout,
            HealthCheck::INVOCATION_TIMEOUT,
        ),
    })
}
