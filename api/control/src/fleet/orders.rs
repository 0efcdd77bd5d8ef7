//! From decisions to orders, and from results to the store.

use model::droplet::Image;
use model::ids::{AppId, DropletId, EventId, InstanceId, TaskId};
use model::instance::Exit;
use model::protocol::cell::{InstanceSpec, StagingSpec, TaskSpec, layer_blob};
use model::task::{StagingFailure, TaskOutcome};
use serde_json::json;
use std::time::Duration;
use store::records::{Build, CrashCount, Droplet, Event, PackageState, Task, TaskState};
use store::{Staged, Store, TaskTeller};

use super::state::{Edition, Wanted};
use crate::failures::{self, exit_text};
use crate::tasks::KEPT_TASKS;

/// From SIGTERM to SIGKILL, as in Diego.
const GRACE: Duration = Duration::from_secs(10);
/// Cloud Foundry's staging timeout.
pub(super) const STAGING_TIMEOUT: Duration = Duration::from_secs(900);

pub(super) fn instance_spec(
    wanted: &Wanted,
    edition: &Edition,
    process: model::ids::ProcessId,
    instance: InstanceId,
    index: u32,
) -> InstanceSpec {
    let spec = &edition.spec;
    InstanceSpec {
        instance,
        app: wanted.app,
        app_name: spec.app_name.clone(),
        process,
        process_type: spec.process_type.clone(),
        version: edition.version,
        index,
        stack: spec.stack.clone(),
        layers: spec.layers.clone(),
        command: spec.command.clone(),
        env: spec.env.clone(),
        limits: spec.limits,
        health: spec.health.clone(),
        log_rate: spec.log_rate,
        grace: GRACE,
    }
}

/// What a cell needs for a build, or why it cannot be built any more.
pub(super) async fn staging_spec(
    store: &Store,
    build: &Build,
    env: model::secret::Env,
) -> Result<Result<StagingSpec, StagingFailure>, store::Error> {
    let app = store.find_app(build.app).await?;
    let package = store.find_package(build.package).await?;
    let (Some(app), Some(package)) = (app, package) else {
        return Ok(Err(StagingFailure::Internal {
            message: "the app was deleted".into(),
        }));
    };
    let PackageState::Ready { digest, size } = package.state else {
        return Ok(Err(StagingFailure::Internal {
            message: "the package is not ready".into(),
        }));
    };
    Ok(Ok(StagingSpec {
        task: build.task,
        build: build.id,
        app: app.id,
        app_name: app.name,
        package: digest,
        package_size: size,
        buildpacks: build.buildpacks.clone(),
        env,
        limits: build.limits,
        timeout: STAGING_TIMEOUT,
    }))
}

/// What a cell needs for a one-off task, or why it cannot run any more.
pub(super) async fn task_spec(
    store: &Store,
    task: &Task,
) -> Result<Result<TaskSpec, StagingFailure>, store::Error> {
    let Some(plan) = store.find_task_plan(task.id).await? else {
        return Ok(Err(StagingFailure::Internal {
            message: "the task has ended".into(),
        }));
    };
    Ok(Ok(TaskSpec {
        task: task.id,
        app: task.app,
        app_name: plan.app_name,
        name: task.name.clone(),
        sequence: task.sequence,
        stack: task.stack.clone(),
        layers: plan.layers,
        command: task.command.expose().clone(),
        env: plan.env,
        limits: task.limits,
        grace: GRACE,
    }))
}

/// Writes down how a task ended, once: a repeated report changes nothing. Returns its app, where something of it changed.
pub(super) async fn finish_task(
    store: &Store,
    task: TaskId,
    outcome: TaskOutcome,
    teller: TaskTeller,
) -> Result<Option<AppId>, store::Error> {
    if let Some(build) = store.find_build_by_task(task).await? {
        finish_build(store, &build, outcome).await?;
        return Ok(Some(build.app));
    }
    let end = match failures::task_failure(&outcome) {
        None => TaskState::Succeeded,
        Some(reason) => TaskState::Failed { reason },
    };
    match store.finish_task(task, teller, &end, KEPT_TASKS).await {
        Ok(finished) => {
            let ended = &finished.task;
            tracing::info!(
                app.guid = %ended.app, task.guid = %task, task.sequence = ended.sequence, state = ended.state.name(),
                pruned = finished.pruned, "a task has ended"
            );
            Ok(Some(ended.app))
        }
        // It has ended before, is another cell's, or went with its app.
        Err(store::Error::Missing) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Writes down how a build ended, once: a repeated report changes nothing.
async fn finish_build(
    store: &Store,
    build: &Build,
    outcome: TaskOutcome,
) -> Result<(), store::Error> {
    let staged = match outcome {
        // A build's layers are kept from the collector while it is under way; a droplet without them would never start.
        TaskOutcome::Staged { image } if !has_layers(store, &image).await? => {
            Staged::Failed(StagingFailure::Internal {
                message: "a layer of the new droplet is not stored; push again".into(),
            })
        }
        TaskOutcome::Staged { image } => Staged::Droplet(Droplet {
            id: DropletId::random(),
            app: build.app,
            package: build.package,
            image,
            created_us: store::now_us(),
        }),
        TaskOutcome::Failed { failure } => Staged::Failed(failure),
        TaskOutcome::Cancelled => Staged::Failed(StagingFailure::Internal {
            message: "the build was cancelled".into(),
        }),
        TaskOutcome::Ran { .. } => Staged::Failed(StagingFailure::Internal {
            message: "the cell took the build for a task".into(),
        }),
    };
    match store.finish_build(build.task, &staged).await {
        Ok(_) | Err(store::Error::Missing) => Ok(()),
        Err(other) => Err(other),
    }
}

async fn has_layers(store: &Store, image: &Image) -> Result<bool, store::Error> {
    for layer in &image.layers {
        if store
            .blobs()
            .size(&layer_blob(&layer.diff_id))
            .await?
            .is_none()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a crash down as an audit event, with what it made of the count of its index. The event's id is the instance's: a
/// repeated report counts once.
pub(super) async fn note_crash(
    store: &Store,
    app: AppId,
    wanted: Option<&Wanted>,
    instance: InstanceId,
    index: u32,
    exit: &Exit,
    count: Option<&CrashCount>,
) -> Result<(), store::Error> {
    let Some(app) = store.find_app(app).await? else {
        return Ok(());
    };
    let org = store.find_space(app.space).await?.map(|space| space.org);
    let process_type = wanted.map_or("web", |wanted| wanted.process_type.as_str());
    let event = Event {
        id: EventId::from_uuid(instance.as_uuid()),
        event_type: "audit.app.process.crash".into(),
        actor: app.id.to_string(),
        actor_name: process_type.into(),
        target: app.id.to_string(),
        target_type: "app".into(),
        target_name: app.name.clone(),
        space: Some(app.space),
        org,
        data: json!({
            "index": index,
            "instance": instance,
            "reason": "CRASHED",
            "exit_status": exit.status,
            "exit_description": exit_text(exit),
        }),
        created_us: store::now_us(),
    };
    store.note_crash(&event, count).await
}
