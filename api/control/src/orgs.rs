//! Organizations, spaces and domains.

mod changes;

use model::ids::{DomainId, OrgId, SpaceId};
use store::records::{Domain, Org, Page, PageRequest, Space};

use crate::error::OrNotFound;
use crate::{Actor, Control, Error, Result};

#[derive(Debug, Clone, Default)]
pub struct SpaceFilter {
    pub names: Vec<String>,
    pub guids: Vec<SpaceId>,
    pub orgs: Vec<OrgId>,
}

impl Control {
    pub async fn list_orgs(
        &self,
        _: &Actor,
        names: &[String],
        guids: &[OrgId],
        page: PageRequest,
    ) -> Result<Page<Org>> {
        Ok(self.store().list_orgs(names, guids, page).await?)
    }

    pub async fn org(&self, _: &Actor, id: OrgId) -> Result<Org> {
        self.store().find_org(id).await.or_not_found("Organization")
    }

    pub async fn list_spaces(
        &self,
        _: &Actor,
        filter: &SpaceFilter,
        page: PageRequest,
    ) -> Result<Page<Space>> {
        Ok(self
            .store()
            .list_spaces(&filter.names, &filter.guids, &filter.orgs, page)
            .await?)
    }

    pub async fn space(&self, _: &Actor, id: SpaceId) -> Result<Space> {
        self.space_of(id).await
    }

    /// In the order of their making.
    pub async fn list_domains(
        &self,
        _: &Actor,
        names: &[String],
        guids: &[DomainId],
        page: PageRequest,
    ) -> Result<Page<Domain>> {
        Ok(self.store().list_domains(names, guids, page).await?)
    }

    /// The one that this installation was started with: an earlier one may lead nowhere any more.
    pub async fn default_domain(&self, actor: &Actor) -> Result<Domain> {
        let own = std::slice::from_ref(&self.settings().domain);
        let found = self.list_domains(actor, own, &[], PageRequest::ALL).await?;
        found
            .items
            .into_iter()
            .next()
            .ok_or(Error::NotFound { what: "Domain" })
    }

    pub async fn domain(&self, _: &Actor, id: DomainId) -> Result<Domain> {
        let found = self
            .store()
            .list_domains(&[], &[id], PageRequest::ALL)
            .await?;
        found
            .items
            .into_iter()
            .next()
            .ok_or(Error::NotFound { what: "Domain" })
    }
}
