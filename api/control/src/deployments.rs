//! Deployments, as people ask for them, and going back to an earlier release.

use model::ids::{AppId, DeploymentId, DropletId, RevisionId};
use model::secret::Env;
use serde_json::json;
use store::records::{Deployment, DeploymentState, Page, PageRequest, Revision};
use store::{DeploymentFilter, ProcessUpdate};

use crate::error::OrNotFound;
use crate::start::When;
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
    ) -> Result<Deployment> {
        let app = self.app(actor, id).await?;
        let deployment = match wish {
            DeploymentWish::Droplet { droplet, web } => {
                if let Some(droplet) = droplet {
                    self.set_current_droplet(actor, id, droplet).await?;
                }
                self.resize_web(actor, id, web).await?;
                let app = self.app(actor, id).await?;
                self.roll_out(&app, When::Always).await?
            }
            DeploymentWish::Release(revision) => {
                let revision = self.revision(actor, revision).await?;
                if revision.app != id {
                    return Err(Error::unprocessable("The revision does not exist"));
                }
                self.roll_back(&app, &revision).await?
            }
        };
        self.audit_app(
            actor,
            "audit.app.deployment.create",
            &app,
            json!({ "revision": deployment.revision }),
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

    /// New figures of `web` that only the new instances get.
    async fn resize_web(&self, actor: &Actor, app: AppId, web: Scale) -> Result<()> {
        processes::check_scale(web)?;
        if web.instances.is_none() && web.memory.is_none() && web.disk.is_none() {
            return Ok(());
        }
        let process = self.app_process(actor, app, "web").await?;
        let update = ProcessUpdate {
            instances: web.instances,
            memory: web.memory,
            disk: web.disk,
            ..ProcessUpdate::default()
        };
        self.store()
            .update_process(process.id, &update)
            .await
            .or_not_found("Process")?;
        Ok(())
    }

    /// Gives up a deployment: the release that served before stays.
    pub async fn cancel_deployment(&self, actor: &Actor, id: DeploymentId) -> Result<Deployment> {
        let deployment = self.deployment(actor, id).await?;
        if deployment.state != DeploymentState::Active {
            return Err(Error::unprocessable("Cannot cancel a DEPLOYED deployment"));
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
