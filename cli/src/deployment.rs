//! Deployments: the flags that shape one, and following it to its end or its pause.

use std::time::Duration;

use api_types::{
    App, AppRelationship, CanaryOptions, CanaryProgress, CanaryStep, CreateDeployment, Deployment,
    DeploymentOptions,
};
use serde_json::json;

use crate::client::Query;
use crate::context::Context;
use crate::error::{CliError, Exit, Outcome};
use crate::push::KEPT;
use crate::start::{self, Watch};
use crate::ui::seconds;

/// How the new instances take the place of the old ones.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Rollout {
    /// Replace instances under traffic: rolling, or canary, which pauses when the first new ones run
    #[arg(long, value_name = "STRATEGY", value_parser = ["rolling", "canary"])]
    pub(crate) strategy: Option<String>,
    /// Percent of the instances that are new at each pause of a canary, such as 1,20,100
    #[arg(
        long,
        value_name = "PERCENT,…",
        value_delimiter = ',',
        requires = "strategy",
        value_parser = clap::value_parser!(u32).range(1..=100)
    )]
    pub(crate) instance_steps: Vec<u32>,
    /// How many instances are replaced at a time [default: 1]
    #[arg(long, value_name = "N", requires = "strategy", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_in_flight: Option<u32>,
}

impl Rollout {
    pub(crate) fn options(&self) -> DeploymentOptions {
        let step = |weight: &u32| CanaryStep {
            instance_weight: *weight,
        };
        DeploymentOptions {
            max_in_flight: self.max_in_flight,
            canary: (!self.instance_steps.is_empty()).then(|| CanaryOptions {
                steps: self.instance_steps.iter().map(step).collect(),
            }),
            ..DeploymentOptions::default()
        }
    }

    /// What to ask the server for, where a strategy was named; its droplet or revision is still to be set.
    pub(crate) fn request(&self, app: &App) -> Option<CreateDeployment> {
        let options = self.options();
        Some(CreateDeployment {
            strategy: Some(self.strategy.clone()?),
            options: (options != DeploymentOptions::default()).then_some(options),
            relationships: AppRelationship::to(&app.guid),
            ..CreateDeployment::default()
        })
    }
}

/// Where following ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// And every instance runs.
    Deployed,
    /// Somebody has to say how it goes on.
    Paused(CanaryProgress),
}

/// Asks for a deployment and waits until it is done or pauses. One that fails has been taken back by the server.
pub(crate) async fn deploy(
    cx: &Context,
    app: &App,
    request: &CreateDeployment,
) -> Outcome<Reached> {
    let deployment: Deployment = cx.client.post("/v3/deployments", request).await?;
    let mut watch = Watch::begin(cx, app).await?;
    follow(&mut watch, &deployment.guid).await
}

/// Waits until a deployment is done or pauses. The server gives up by itself what takes too long.
pub(crate) async fn follow(watch: &mut Watch<'_>, guid: &str) -> Outcome<Reached> {
    let path = format!("/v3/deployments/{guid}");
    loop {
        let now: Deployment = watch.cx.client.get_patiently(&path).await?;
        match (now.status.value.as_str(), now.status.reason.as_str()) {
            ("FINALIZED", "DEPLOYED") => {
                watch.until_started().await?;
                return Ok(Reached::Deployed);
            }
            ("FINALIZED", "SUPERSEDED") => return Err(superseded(watch.app)),
            ("FINALIZED", _) => {
                let shown = match now.status.details.error {
                    Some(_) => watch.failure().await?,
                    None => None,
                };
                return Err(shown.unwrap_or_else(|| ended(watch.app, &now)));
            }
            ("ACTIVE", "PAUSED") => {
                let progress = now.status.canary.unwrap_or_default().steps;
                return Ok(Reached::Paused(progress));
            }
            _ => watch.look_at_roll().await?,
        }
    }
}

/// Another release took the place of this one, and whether that one starts is not known here.
fn superseded(app: &App) -> CliError {
    let message = format!(
        "another push, restart or rollback of {} took the place of this one before it was done",
        app.name
    );
    CliError::new("E-CONFLICT", Exit::Conflict, message)
        .hint(format!("slipway releases {}", app.name))
        .hint(format!("slipway app {}", app.name))
}

fn ended(app: &App, deployment: &Deployment) -> CliError {
    let error = match &deployment.status.details.error {
        Some(cause) => {
            CliError::from_text(&format!("web {cause}"), start::code_of(cause), Exit::Start)
        }
        // By a person, who may have stopped the app as well.
        None if deployment.status.reason == "CANCELED" => {
            return CliError::new("E-START", Exit::Start, "the deployment was cancelled")
                .hint(format!("slipway app {}", app.name));
        }
        None => {
            let message = format!("the deployment ended as {}", deployment.status.reason);
            CliError::new("E-START", Exit::Start, message)
        }
    };
    error
        .lines([KEPT.to_owned()])
        .hint(format!("slipway logs {} --recent", app.name))
}

/// The app's deployment that is under way.
pub(crate) async fn active(cx: &Context, app: &App) -> Outcome<Deployment> {
    active_if_any(cx, app).await?.ok_or_else(|| {
        CliError::not_found(format!("{} has no deployment under way", app.name))
            .hint(format!("slipway releases {}", app.name))
    })
}

pub(crate) async fn active_if_any(cx: &Context, app: &App) -> Outcome<Option<Deployment>> {
    let query = Query::of("/v3/deployments")
        .with("app_guids", &app.guid)
        .with("order_by", "-created_at")
        .with("status_values", "ACTIVE")
        .one();
    cx.client.first(query).await
}

/// Tells that a canary waits, and what can be done about it.
pub(crate) fn paused(cx: &Context, app: &App, progress: CanaryProgress, took: Duration) -> Outcome {
    let CanaryProgress { current, total } = progress;
    cx.ui.step(
        "try",
        format!(
            "slipway continue-deployment {name}  |  slipway cancel-deployment {name}",
            name = app.name
        ),
    );
    cx.ui.answer(
        || json!({"ok": true, "app": app.name, "paused": true, "step": current, "steps": total}),
        |ui| {
            ui.data(format!(
                "paused {} at step {current} of {total} {}",
                app.name,
                seconds(took)
            ))
        },
    )
}
