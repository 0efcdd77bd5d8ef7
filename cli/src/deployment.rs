//! Deployments: the flags that shape one, and following it to its end or its pause.

use std::time::{Duration, Instant};

use api_types::{
    App, AppRelationship, CanaryOptions, CanaryProgress, CanaryStep, CreateDeployment, Deployment,
    DeploymentOptions,
};
use serde_json::json;

use crate::client::Query;
use crate::context::Context;
use crate::error::{CliError, Exit, Outcome};
use crate::push::KEPT;
use crate::start;
use crate::ui::seconds;

/// `cf`'s startup timeout.
const LIMIT: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(500);

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
    follow(cx, app, &deployment.guid).await
}

pub(crate) async fn follow(cx: &Context, app: &App, guid: &str) -> Outcome<Reached> {
    let path = format!("/v3/deployments/{guid}");
    let begun = Instant::now();
    loop {
        let now: Deployment = cx.client.get(&path).await?;
        match (now.status.value.as_str(), now.status.reason.as_str()) {
            ("FINALIZED", "DEPLOYED") => return Ok(Reached::Deployed),
            ("FINALIZED", reason) => return Err(ended(app, &now, reason)),
            ("ACTIVE", "PAUSED") => {
                let progress = now.status.canary.unwrap_or_default().steps;
                return Ok(Reached::Paused(progress));
            }
            _ if begun.elapsed() > LIMIT => {
                let _: Deployment = cx
                    .client
                    .post(&format!("{path}/actions/cancel"), &json!({}))
                    .await?;
                let message = format!(
                    "the deployment has not ended in {} s and was cancelled",
                    LIMIT.as_secs()
                );
                return Err(CliError::new("E-START", Exit::Start, message)
                    .hint(format!("slipway app {}", app.name)));
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn ended(app: &App, deployment: &Deployment, reason: &str) -> CliError {
    let error = match &deployment.status.details.error {
        Some(cause) => {
            CliError::from_text(&format!("web {cause}"), start::code_of(cause), Exit::Start)
        }
        None => {
            let message = format!("the deployment ended as {reason}");
            CliError::new("E-START", Exit::Start, message)
        }
    };
    error
        .lines([KEPT.to_owned()])
        .hint(format!("slipway logs {} --recent", app.name))
}

/// The app's deployment that is under way.
pub(crate) async fn active(cx: &Context, app: &App) -> Outcome<Deployment> {
    let query = Query::of("/v3/deployments")
        .with("app_guids", &app.guid)
        .with("order_by", "-created_at")
        .with("status_values", "ACTIVE")
        .one();
    cx.client.first(query).await?.ok_or_else(|| {
        CliError::not_found(format!("{} has no deployment under way", app.name))
            .hint(format!("slipway releases {}", app.name))
    })
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
