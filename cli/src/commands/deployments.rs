//! Deciding about a deployment that waits.

use std::time::Instant;

use api_types::Deployment;
use serde_json::json;

use super::done;
use crate::context::Context;
use crate::deployment::{self, Reached};
use crate::error::Outcome;
use crate::start::Watch;

/// Go on with a paused canary deployment: to its next step, or after the last one to the end
#[derive(Debug, clap::Args)]
pub(crate) struct ContinueDeployment {
    pub(crate) app: String,
}

/// Take back a deployment that is under way: the release before serves again
#[derive(Debug, clap::Args)]
pub(crate) struct CancelDeployment {
    pub(crate) app: String,
}

impl ContinueDeployment {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let began = Instant::now();
        let app = cx.app(&self.app).await?;
        let active = deployment::active(cx, &app).await?;
        let path = format!("/v3/deployments/{}/actions/continue", active.guid);
        let _: Deployment = cx.client.post(&path, &json!({})).await?;
        let mut watch = Watch::begin(cx, &app).await?;
        match deployment::follow(&mut watch, &active.guid).await? {
            Reached::Paused(progress) => deployment::paused(cx, &app, progress, began.elapsed()),
            Reached::Deployed => {
                let json = json!({"app": app.name, "deployed": true});
                done(cx, json, format!("{} is deployed", app.name))
            }
        }
    }
}

impl CancelDeployment {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let active = deployment::active(cx, &app).await?;
        let path = format!("/v3/deployments/{}/actions/cancel", active.guid);
        let _: Deployment = cx.client.post(&path, &json!({})).await?;
        Watch::begin(cx, &app).await?.until_started().await?;
        done(
            cx,
            json!({"app": app.name, "canceled": true}),
            format!("{} is back at the release before", app.name),
        )
    }
}
