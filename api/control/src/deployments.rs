//! Deployments, as people ask for them, and going back to an earlier release.

use model::ids::{AppId, DeploymentId, DropletId};
use serde_json::json;
use store::DeploymentFilter;
use store::records::{Deployment, DeploymentState, Page, PageRequest, Revision};

use crate::error::OrNotFound;
use crate::{Actor, Control, Error, Result};

/// What a deployment should bring.
#[derive(Debug, Clone)]
pub enum DeploymentWish {
    /// The app's present settings, with this droplet where one is named.
    Droplet(Option<DropletId>),
    /// An earlier release, by its number.
    Release(u32),
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

    /// Rolls an app to its present settings or back to an earlier release. The answer is the deployment; an app of which
    /// nothing runs has started at once, and its deployment is done.
    pub async fn create_deployment(
        &self,
        actor: &Actor,
        app: AppId,
        wish: DeploymentWish,
    ) -> Result<Deployment> {
        let before = self.app(actor, app).await?;
        match wish {
            DeploymentWish::Droplet(droplet) => {
                if let Some(droplet) = droplet {
                    self.set_current_droplet(actor, app, droplet).await?;
                }
                let app = self.app(actor, app).await?;
                self.roll_out(&app).await?;
            }
            DeploymentWish::Release(version) => {
                let revision = self.release(actor, app, version).await?;
                self.roll_back(&before, &revision).await?;
            }
        }
        let app = self.app(actor, app).await?;
        self.audit_app(actor, "audit.app.deployment.create", &app, json!({}))
            .await;
        let filter = DeploymentFilter {
            apps: vec![app.id],
            newest_first: true,
            ..DeploymentFilter::default()
        };
        let newest = self
            .store()
            .list_deployments(
                &filter,
                PageRequest {
                    page: 1,
                    per_page: 1,
                },
            )
            .await?
            .items;
        newest
            .into_iter()
            .next()
            .ok_or(Error::NotFound { what: "Deployment" })
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

    async fn release(&self, actor: &Actor, app: AppId, version: u32) -> Result<Revision> {
        let found = self
            .list_revisions(actor, app, &[version], PageRequest::ALL)
            .await?
            .items;
        found
            .into_iter()
            .next()
            .ok_or(Error::NotFound { what: "Revision" })
    }
}
