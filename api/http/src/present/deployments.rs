//! Deployments.

use api_control::records::{self, DeploymentState};
use api_types::{
    AppRelationship, CanaryOptions, CanaryProgress, CanaryStatus, CanaryStep, Deployment,
    DeploymentDetails, DeploymentOptions, DeploymentStatus, NamedProcess, Ref,
};

use model::deployment::{Canary, Strategy};

use super::time;
use crate::urls::Urls;

/// A failed deployment is `CANCELED` to clients, which is the reason that they take for a failure; the cause stands in
/// the details.
pub(crate) fn deployment(urls: &Urls, deployment: &records::Deployment) -> Deployment {
    let canary = match &deployment.strategy {
        Strategy::Canary(canary) => Some(canary),
        Strategy::Rolling => None,
    };
    let (value, reason, error) = match &deployment.state {
        DeploymentState::Active if canary.is_some_and(Canary::is_paused) => {
            ("ACTIVE", "PAUSED", None)
        }
        DeploymentState::Active => ("ACTIVE", "DEPLOYING", None),
        DeploymentState::Deployed => ("FINALIZED", "DEPLOYED", None),
        DeploymentState::Canceled => ("FINALIZED", "CANCELED", None),
        DeploymentState::Superseded => ("FINALIZED", "SUPERSEDED", None),
        DeploymentState::Failed { error } => ("FINALIZED", "CANCELED", Some(error.clone())),
    };
    let own = format!("/v3/deployments/{}", deployment.id);
    Deployment {
        guid: deployment.id.to_string(),
        created_at: time(deployment.created_us),
        updated_at: Some(time(deployment.updated_us)),
        status: DeploymentStatus {
            value: value.into(),
            reason: reason.into(),
            details: DeploymentDetails {
                last_status_change: Some(time(deployment.updated_us)),
                error,
                ..DeploymentDetails::default()
            },
            canary: canary
                .filter(|_| deployment.state == DeploymentState::Active)
                .map(|canary| CanaryStatus {
                    steps: CanaryProgress {
                        current: canary.step(),
                        total: canary.steps(),
                    },
                }),
        },
        strategy: if canary.is_some() {
            "canary"
        } else {
            "rolling"
        }
        .into(),
        options: DeploymentOptions {
            max_in_flight: Some(deployment.max_in_flight),
            canary: canary
                .filter(|canary| !canary.weights().is_empty())
                .map(|canary| CanaryOptions {
                    steps: canary.weights().iter().map(step).collect(),
                }),
            ..DeploymentOptions::default()
        },
        droplet: Some(Ref {
            guid: deployment.droplet.to_string(),
        }),
        previous_droplet: deployment.previous_droplet.map(|droplet| Ref {
            guid: droplet.to_string(),
        }),
        new_processes: vec![NamedProcess {
            process: Ref {
                guid: deployment.app.web_process().to_string(),
            },
            kind: "web".into(),
        }],
        relationships: AppRelationship::to(deployment.app.to_string()),
        links: urls.links([
            ("self", own.clone()),
            ("app", format!("/v3/apps/{}", deployment.app)),
            ("cancel", format!("{own}/actions/cancel")),
            ("continue", format!("{own}/actions/continue")),
        ]),
        ..Deployment::default()
    }
}

const fn step(weight: &u32) -> CanaryStep {
    CanaryStep {
        instance_weight: *weight,
    }
}
