//! Deployments, as people ask for them, and going back to an earlier release.

use model::deployment::{CanaryEvent, Strategy};
use model::ids::{AppId, DeploymentId, DropletId, RevisionId};
use model::secret::Env;
use serde_json::json;
use store::DeploymentFilter;
use store::records::{Deployment, DeploymentState, Page, PageRequest, Revision};

use crate::error::OrNotFound;
use crate::start::{How, When, deadline};
use crate::{Actor, Control, Error, Result, Scale, processes};

/// What a deployment should bring.
#[derive(Debug, Clone)]
pub enum DeploymentWish {
    /// The app's present settings, with this droplet where one is named, and its `web` process in this size.
    Droplet {
        droplet: Option<DropletId>,
        web: Scale,
    },
    /// An earlier release.
    Release(RevisionId),
}

impl Control {
    pub async fn list_deployments(
        &self,
        _: &Actor,
        filter: &DeploymentFilter,
        page: PageRequest,
    ) -> Result<Page<Deployment>> {
        Ok(self.store().list_deployments(filter, page).await?)
    }

    pub async fn deployment(&self, _: &Actor, id: DeploymentId) -> Result<Deployment> {
        self.store()
            .find_deployment(id)
            .await
            .or_not_found("Deployment")
    }

    /// Rolls an app to its present settings or back to an earlier release. Where nothing of the app runs, it starts at once
    /// and the deployment is done.
    pub async fn create_deployment(
        &self,
        actor: &Actor,
        id: AppId,
        wish: DeploymentWish,
        how: How,
    ) -> Result<Deployment> {
        if how.max_in_flight == 0 {
            return Err(Error::unprocessable("Max in flight must be greater than 0"));
        }
        let app = self.app(actor, id).await?;
        let strategy = match &how.strategy {
            Strategy::Rolling => "rolling",
            Strategy::Canary(_) => "canary",
        };
        let deployment = match wish {
            DeploymentWish::Droplet { droplet, web } => {
                processes::check_scale(web)?;
                let named = match droplet {
                    Some(droplet) => Some(self.assignable_droplet(id, droplet).await?),
                    None => None,
                };
                let deployment = self.roll_out(&app, named, web, When::Always, how).await?;
                if let Some(droplet) = droplet {
                    self.audit_droplet(actor, &app, droplet).await;
                }
                deployment
            }
            DeploymentWish::Release(revision) => {
                let revision = self.revision(actor, revision).await?;
                if revision.app != id {
                    return Err(Error::unprocessable("The revision does not exist"));
                }
                self.roll_back(&app, &revision, how).await?
            }
        };
        self.audit_app(
            actor,
            "audit.app.deployment.create",
            &app,
            json!({ "revision": deployment.revision, "strategy": strategy }),
        )
        .await;
        Ok(deployment)
    }

    pub async fn revision(&self, _: &Actor, id: RevisionId) -> Result<Revision> {
        self.store()
            .find_revision(id)
            .await
            .or_not_found("Revision")
    }

    /// The variables that instances of a revision get, but for those that the platform makes of the app, its limits and
    /// its services. Addresses of services under their habitual names are among them.
    pub async fn revision_env(&self, actor: &Actor, id: RevisionId) -> Result<(Revision, Env)> {
        let revision = self.revision(actor, id).await?;
        let processes = &revision.snapshot.processes;
        let mut env = Env::new();
        if let Some(spec) = processes.get("web").or_else(|| processes.values().next()) {
            for (name, value) in spec.env.iter() {
                let made = matches!(name, "VCAP_APPLICATION" | "VCAP_SERVICES" | "MEMORY_LIMIT")
                    || (name == "CF_STACK" && value == spec.stack.0);
                if !made {
                    env.set(name, value);
                }
            }
        }
        Ok((revision, env))
    }

    /// Takes a paused canary deployment to its next step, or after the last one to its end.
    pub async fn continue_deployment(&self, actor: &Actor, id: DeploymentId) -> Result<Deployment> {
        let deployment = self.deployment(actor, id).await?;
        let refused = |status: &str| {
            Error::Unprocessable(format!(
                "Cannot continue a deployment with status: {status}"
            ))
        };
        if deployment.state != DeploymentState::Active {
            return Err(refused(&format!(
                "FINALIZED and reason: {}",
                reason(&deployment.state)
            )));
        }
        let Strategy::Canary(canary) = &deployment.strategy else {
            return Err(refused("ACTIVE and reason: DEPLOYING"));
        };
        let next = canary
            .after(CanaryEvent::Continued)
            .ok_or_else(|| refused("ACTIVE and reason: DEPLOYING"))?;
        let lrps = self.store().list_desired_lrps(Some(deployment.app)).await?;
        self.store()
            .move_canary(id, canary, &next, deadline(&lrps))
            .await
            .map_err(|error| match error {
                // Somebody else was faster.
                store::Error::Missing => refused("ACTIVE and reason: DEPLOYING"),
                other => other.into(),
            })?;
        self.fleet().refresh_app(deployment.app).await?;
        let app = self.app(actor, deployment.app).await?;
        self.audit_app(actor, "audit.app.deployment.continue", &app, json!({}))
            .await;
        self.deployment(actor, id).await
    }

    /// Gives up a deployment: the release that served before stays, or comes back where instances of it were replaced.
    pub async fn cancel_deployment(&self, actor: &Actor, id: DeploymentId) -> Result<Deployment> {
        let deployment = self.deployment(actor, id).await?;
        if deployment.state != DeploymentState::Active {
            return Err(Error::Unprocessable(format!(
                "Cannot cancel a {} deployment",
                reason(&deployment.state)
            )));
        }
        self.fleet()
            .end_deployment(deployment.app, id, &DeploymentState::Canceled)
            .await?;
        let app = self.app(actor, deployment.app).await?;
        self.audit_app(actor, "audit.app.deployment.cancel", &app, json!({}))
            .await;
        self.deployment(actor, id).await
    }
}

const fn reason(state: &DeploymentState) -> &'static str {
    match state {
        DeploymentState::Active => "DEPLOYING",
        DeploymentState::Deployed => "DEPLOYED",
        DeploymentState::Canceled | DeploymentState::Failed { .. } => "CANCELED",
        DeploymentState::Superseded => "SUPERSEDED",
    }
}
