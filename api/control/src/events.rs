//! Audit events and releases, as people look back at them.

use model::ids::AppId;
use store::records::{Event, Page, PageRequest, Revision};
use store::{DeploymentFilter, EventFilter};

use crate::{Actor, Control, Result};

impl Control {
    pub async fn list_events(
        &self,
        _: &Actor,
        filter: &EventFilter,
        page: PageRequest,
    ) -> Result<Page<Event>> {
        Ok(self.store().list_events(filter, page).await?)
    }

    /// Newest first.
    pub async fn list_revisions(
        &self,
        actor: &Actor,
        app: AppId,
        versions: &[u32],
        page: PageRequest,
    ) -> Result<Page<Revision>> {
        self.app(actor, app).await?;
        Ok(self.store().list_revisions(app, versions, page).await?)
    }

    /// The release that runs; none of a stopped app.
    pub async fn deployed_revisions(&self, actor: &Actor, app: AppId) -> Result<Vec<Revision>> {
        self.app(actor, app).await?;
        let lrps = self.store().list_desired_lrps(Some(app)).await?;
        let mut versions = lrps.iter().map(|lrp| lrp.revision).collect::<Vec<_>>();
        // While an older release is to be replaced, both are deployed.
        let filter = DeploymentFilter {
            apps: vec![app],
            active: true,
            ..DeploymentFilter::default()
        };
        let active = self
            .store()
            .list_deployments(&filter, PageRequest::ALL)
            .await?;
        versions.extend(active.items.iter().map(|active| active.previous_revision));
        versions.sort_unstable();
        versions.dedup();
        if versions.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self
            .store()
            .list_revisions(app, &versions, PageRequest::ALL)
            .await?
            .items)
    }
}
