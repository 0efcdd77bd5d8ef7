//! One-off tasks.

use api_control::{TaskFilter, TaskOrder, TaskRequest};
use api_types::{CreateTask, Page, Task, UpdateTask};
use axum::Json;
use http::StatusCode;
use model::ids::{AppId, TaskId};
use model::limits::Megabytes;

use super::metadata;
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::query::Query;
use crate::request::{Ask, Guid, parsed};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Task>>> {
    let query = ask.query(&[
        "guids",
        "names",
        "states",
        "app_guids",
        "space_guids",
        "organization_guids",
    ])?;
    let filter = TaskFilter {
        apps: query.guids("app_guids")?,
        spaces: query.guids("space_guids")?,
        orgs: query.guids("organization_guids")?,
        ..filter(&query)?
    };
    let tasks = ask
        .control
        .list_tasks(&ask.actor, &filter, query.page())
        .await?;
    Ok(Json(query.answer(&ask.urls, tasks, |task| {
        present::task_in_list(&ask.urls, &task)
    })))
}

/// Who may see an app's tasks here may see its environment too, and so what they run.
pub(crate) async fn list_of_app(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Page<Task>>> {
    ask.control.app(&ask.actor, app).await?;
    let query = ask.query(&["guids", "names", "states", "sequence_ids"])?;
    let filter = TaskFilter {
        apps: vec![app],
        sequences: sequences(&query)?,
        ..filter(&query)?
    };
    let tasks = ask
        .control
        .list_tasks(&ask.actor, &filter, query.page())
        .await?;
    Ok(Json(query.answer(&ask.urls, tasks, |task| {
        present::task(&ask.urls, &task)
    })))
}

fn filter(query: &Query) -> Outcome<TaskFilter> {
    let order = query.order(&["created_at", "-created_at", "updated_at", "-updated_at"])?;
    let order = order.unwrap_or_default();
    Ok(TaskFilter {
        guids: query.guids("guids")?,
        names: query.texts("names")?,
        states: query.texts("states")?,
        order: TaskOrder {
            by_change: order.ends_with("updated_at"),
            descending: order.starts_with('-'),
        },
        ..TaskFilter::default()
    })
}

/// What is no number names no task, and a filter of such values only must match nothing: no task has the number 0.
fn sequences(query: &Query) -> Outcome<Vec<u32>> {
    let values = query.texts("sequence_ids")?;
    let numbers = values.iter().map(|value| value.parse().unwrap_or(0));
    Ok(numbers.collect())
}

pub(crate) async fn create(
    ask: Ask,
    Guid(app): Guid<AppId>,
    JsonBody(body): JsonBody<CreateTask>,
) -> Outcome<(StatusCode, Json<Task>)> {
    if body
        .log_rate_limit_in_bytes_per_second
        .is_some_and(|limit| limit != -1)
    {
        return Err(ApiError::unprocessable(
            "limits of the log rate are not supported; -1, unlimited, is possible",
        ));
    }
    let request = TaskRequest {
        command: body.command,
        template: match body.template {
            Some(template) => Some(parsed(&template.process.guid)?),
            None => None,
        },
        name: body.name,
        memory: body.memory_in_mb.map(Megabytes),
        disk: body.disk_in_mb.map(Megabytes),
        droplet: match body.droplet_guid {
            Some(droplet) => Some(parsed(&droplet)?),
            None => None,
        },
        metadata: metadata::initial(body.metadata),
    };
    let task = ask.control.create_task(&ask.actor, app, request).await?;
    Ok((StatusCode::ACCEPTED, Json(present::task(&ask.urls, &task))))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<TaskId>) -> Outcome<Json<Task>> {
    let task = ask.control.task(&ask.actor, id).await?;
    Ok(Json(present::task(&ask.urls, &task)))
}

pub(crate) async fn update(
    ask: Ask,
    Guid(id): Guid<TaskId>,
    JsonBody(body): JsonBody<UpdateTask>,
) -> Outcome<Json<Task>> {
    let changes = body.metadata.unwrap_or_default();
    let task = ask
        .control
        .label_task(&ask.actor, id, changes.labels, changes.annotations)
        .await?;
    Ok(Json(present::task(&ask.urls, &task)))
}

pub(crate) async fn cancel(ask: Ask, Guid(id): Guid<TaskId>) -> Outcome<(StatusCode, Json<Task>)> {
    let task = ask.control.cancel_task(&ask.actor, id).await?;
    Ok((StatusCode::ACCEPTED, Json(present::task(&ask.urls, &task))))
}
