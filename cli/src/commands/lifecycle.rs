//! Starting, stopping, restarting and building again.

use std::time::Instant;

use api_types::{App, AppState, CreateDeployment, Droplet, Package, Ref};
use serde_json::json;

use super::done;
use crate::client::Query;
use crate::context::Context;
use crate::deployment::{Reached, Rollout};
use crate::error::{CliError, Outcome};
use crate::{deployment, stage, start};

/// Start an app
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    pub(crate) app: String,
}

/// Stop an app; its files, routes and settings stay
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    pub(crate) app: String,
}

/// Replace an app's instances, so that new env vars and bindings hold
#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) rollout: Rollout,
}

/// Build the app's newest package again and restart it
#[derive(Debug, clap::Args)]
pub(crate) struct Restage {
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) rollout: Rollout,
}

impl Start {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        if app.state == AppState::Started {
            return result(cx, &app, "is started already");
        }
        build_if_needed(cx, &app).await?;
        cx.act(&app, "start").await?;
        start::wait_until_started(cx, &app).await?;
        result(cx, &app, "runs")
    }
}

impl Stop {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        cx.act(&app, "stop").await?;
        done(
            cx,
            json!({"app": app.name, "state": "STOPPED"}),
            format!("{} is stopped", app.name),
        )
    }
}

impl Restart {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        build_if_needed(cx, &app).await?;
        match self.rollout.request(&app) {
            None => {
                cx.act(&app, "restart").await?;
                start::wait_until_started(cx, &app).await?;
            }
            Some(request) => {
                let began = Instant::now();
                if let Reached::Paused(progress) = deployment::deploy(cx, &app, &request).await? {
                    return deployment::paused(cx, &app, progress, began.elapsed());
                }
            }
        }
        result(cx, &app, "runs")
    }
}

impl Restage {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let package = newest_package(cx, &app, Some("READY"))
            .await?
            .ok_or_else(|| nothing_uploaded(&app))?;
        let droplet = stage::stage(cx, &app.guid, &package.guid).await?;
        match self.rollout.request(&app) {
            None => {
                cx.use_droplet(&app, &droplet).await?;
                cx.act(&app, "restart").await?;
                start::wait_until_started(cx, &app).await?;
            }
            Some(request) => {
                let began = Instant::now();
                let request = CreateDeployment {
                    droplet: Some(Ref::new(&droplet)),
                    ..request
                };
                if let Reached::Paused(progress) = deployment::deploy(cx, &app, &request).await? {
                    return deployment::paused(cx, &app, progress, began.elapsed());
                }
            }
        }
        result(cx, &app, "is built again and runs")
    }
}

/// Builds the newest package where no droplet was made of it yet, as `cf` does.
async fn build_if_needed(cx: &Context, app: &App) -> Outcome {
    let Some(package) = newest_package(cx, app, None).await? else {
        return if app.relationships.current_droplet.guid().is_some() {
            Ok(())
        } else {
            Err(nothing_uploaded(app))
        };
    };
    let query = Query::of(format!("/v3/packages/{}/droplets", package.guid))
        .one()
        .with("states", "STAGED");
    if cx.client.first::<Droplet>(query).await?.is_some() {
        return Ok(());
    }
    let droplet = stage::stage(cx, &app.guid, &package.guid).await?;
    cx.use_droplet(app, &droplet).await
}

async fn newest_package(cx: &Context, app: &App, states: Option<&str>) -> Outcome<Option<Package>> {
    let query = Query::of("/v3/packages")
        .with("app_guids", &app.guid)
        .with("order_by", "-created_at")
        .one();
    let query = match states {
        Some(states) => query.with("states", states),
        None => query,
    };
    cx.client.first(query).await
}

fn nothing_uploaded(app: &App) -> CliError {
    CliError::not_found(format!("nothing was uploaded for {} yet", app.name))
        .hint(format!("slipway push {}", app.name))
}

fn result(cx: &Context, app: &App, what: &str) -> Outcome {
    done(
        cx,
        json!({"app": app.name, "state": "STARTED"}),
        format!("{} {what}", app.name),
    )
}
