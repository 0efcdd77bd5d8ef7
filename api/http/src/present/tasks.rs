//! One-off tasks.

use api_control::records;
use api_types::{AppRelationship, Link, Task, TaskResult, TaskState};

use super::{metadata, time};
use crate::urls::Urls;

pub(crate) fn task(urls: &Urls, task: &records::Task) -> Task {
    Task {
        command: Some(task.command.clone()),
        ..task_in_list(urls, task)
    }
}

/// Without its command, which may hold secrets.
pub(crate) fn task_in_list(urls: &Urls, task: &records::Task) -> Task {
    let (state, failure_reason) = match &task.state {
        records::TaskState::Pending => (TaskState::Pending, None),
        records::TaskState::Running => (TaskState::Running, None),
        records::TaskState::Canceling => (TaskState::Canceling, None),
        records::TaskState::Succeeded => (TaskState::Succeeded, None),
        records::TaskState::Failed { reason } => (TaskState::Failed, Some(reason.clone())),
    };
    let own = format!("/v3/tasks/{}", task.id);
    let mut links = urls.links([
        ("self", own.clone()),
        ("app", format!("/v3/apps/{}", task.app)),
        ("droplet", format!("/v3/droplets/{}", task.droplet)),
    ]);
    links.insert(
        "cancel".into(),
        Link::post(urls.to(&format!("{own}/actions/cancel"))),
    );
    Task {
        guid: task.id.to_string(),
        created_at: time(task.created_us),
        updated_at: Some(time(task.updated_us)),
        sequence_id: task.sequence.into(),
        name: task.name.clone(),
        command: None,
        state,
        memory_in_mb: task.limits.memory.0,
        disk_in_mb: task.limits.disk.0,
        log_rate_limit_in_bytes_per_second: -1,
        result: TaskResult { failure_reason },
        droplet_guid: Some(task.droplet.to_string()),
        relationships: AppRelationship::to(task.app.to_string()),
        metadata: metadata(&task.metadata),
        links,
    }
}
