//! A push, step by step: the manifest is applied by the server, then each app is uploaded, built and started.
//!
//! These are the calls of `cf push`; there is no private way in. [`plan`] turns flags and manifest into what is wanted,
//! [`apply`] makes the server want it, [`upload`] sends the files that the space lacks, then [`crate::stage`] and
//! [`crate::start`] follow the server's work, and [`report`] says what came of it.

mod apply;
mod options;
mod plan;
mod report;
mod upload;

use std::path::PathBuf;
use std::time::Instant;

use api_types::{App, AppState, CreateDeployment, DeploymentOptions, Ref};
use model::manifest::Manifest;
use owo_colors::OwoColorize;

pub(crate) use options::{PushOptions, pair};

use crate::context::Context;
use crate::deployment::Reached;
use crate::error::{CliError, Outcome};
use crate::files::FileSet;
use crate::{deployment, stage, start, ui};

/// What is to be pushed, before any call is made.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) manifest: Manifest,
    /// As the person would name it; none where there is no manifest.
    pub(crate) manifest_file: Option<PathBuf>,
    /// One for each application of the manifest, in its order.
    pub(crate) apps: Vec<PlannedApp>,
}

#[derive(Debug)]
pub(crate) struct PlannedApp {
    pub(crate) name: String,
    /// Where the name is from, for the report.
    pub(crate) name_reason: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) path_reason: &'static str,
}

/// What a failed push of a running app leaves.
pub(crate) const KEPT: &str =
    "kept       the release before is still live; nothing changed for your users";

pub(crate) async fn push(cx: &Context, options: &PushOptions) -> Outcome {
    cx.ui.begin_stream();
    let mut started = Instant::now();
    let plan = plan::make(options)?;
    let target = cx.target().await?;
    let mut sets = Vec::new();
    // The files of all apps are read before anything is created, so that what is wrong with them costs nothing.
    for planned in &plan.apps {
        report::begin(cx, planned, target);
        let files = gather(planned).await?;
        report::files(cx, &plan, planned, &files, target)?;
        sets.push(files);
    }
    apply::manifest(cx, &plan).await?;
    let apps = apply::pushed_apps(cx, &plan).await?;
    for ((planned, files), app) in plan.apps.iter().zip(&sets).zip(&apps) {
        push_app(cx, options, planned, files, app, started).await?;
        started = Instant::now();
    }
    Ok(())
}

async fn gather(app: &PlannedApp) -> Outcome<FileSet> {
    let path = app.path.clone();
    tokio::task::spawn_blocking(move || FileSet::gather(&path))
        .await
        .map_err(|error| CliError::other(format!("reading the files failed: {error}")))?
}

async fn push_app(
    cx: &Context,
    options: &PushOptions,
    planned: &PlannedApp,
    files: &FileSet,
    app: &App,
    started: Instant,
) -> Outcome {
    apply::warn_of_loopback(cx, app).await;
    let routes = cx.app_routes(&app.guid).await?;
    report::routes(cx, &routes);
    let package = upload::package(cx, &app.guid, files).await?;
    if options.no_start {
        if app.state == AppState::Started {
            stop(cx, app, "--no-start").await?;
        }
        return report::not_started(cx, &planned.name, &package);
    }
    let droplet = stage::stage(cx, &app.guid, &package)
        .await
        .map_err(|error| {
            if app.state == AppState::Started {
                error.lines([KEPT.to_owned()])
            } else {
                error
            }
        })?;
    if options.task {
        stop(cx, app, "--task").await?;
        cx.use_droplet(app, &droplet).await?;
        return report::for_tasks(cx, &planned.name, &droplet, started.elapsed());
    }
    match options.rollout.request(app) {
        None => {
            restart(cx, app, &droplet).await?;
            start::wait_until_started(cx, app).await?;
        }
        Some(request) => {
            let reached = deploy(cx, options, app, &droplet, request).await?;
            if let Reached::Paused(progress) = reached {
                return deployment::paused(cx, app, progress, started.elapsed());
            }
        }
    }
    report::live(cx, app, &routes, started.elapsed()).await
}

/// Stops the app because of a flag that asks for that by the way.
async fn stop(cx: &Context, app: &App, flag: &str) -> Outcome {
    if app.state == AppState::Started {
        let why = dim(format!("({flag})"));
        cx.ui.step("stop", format!("{}  {why}", app.name));
    }
    cx.act(app, "stop").await
}

async fn restart(cx: &Context, app: &App, droplet: &str) -> Outcome {
    // `cf` makes this call too; it fails early where the droplet has gone.
    let _: api_types::Droplet = cx.client.get(&format!("/v3/droplets/{droplet}")).await?;
    cx.use_droplet(app, droplet).await?;
    cx.act(app, "restart").await
}

/// Replaces the running instances under traffic.
async fn deploy(
    cx: &Context,
    options: &PushOptions,
    app: &App,
    droplet: &str,
    request: CreateDeployment,
) -> Outcome<Reached> {
    let wanted = DeploymentOptions {
        web_instances: options.instances,
        memory_in_mb: options.memory.map(|memory| memory.0),
        disk_in_mb: options.disk.map(|disk| disk.0),
        ..options.rollout.options()
    };
    let request = CreateDeployment {
        droplet: Some(Ref::new(droplet)),
        options: (wanted != DeploymentOptions::default()).then_some(wanted),
        ..request
    };
    deployment::deploy(cx, app, &request).await
}

fn dim(text: impl std::fmt::Display) -> String {
    text.to_string().dimmed().to_string()
}

fn files_and_size(files: &FileSet) -> String {
    format!(
        "{}, {}",
        ui::count(files.files(), "file"),
        ui::size(files.bytes())
    )
}
