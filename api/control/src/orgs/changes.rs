//! Making, renaming and deleting organizations and spaces.

use model::ids::{AppId, OrgId, SpaceId};
use serde_json::json;
use store::AppFilter;
use store::records::{Job, JobState, Org, PageRequest, Space};

use crate::control::Target;
use crate::error::OrNotFound;
use crate::{Actor, Control, Error, Result};

impl Control {
    pub async fn create_org(&self, actor: &Actor, name: &str) -> Result<Org> {
        check_name(name)?;
        let org = self
            .store()
            .insert_org(name)
            .await
            .map_err(|error| org_taken(error, name))?;
        self.audit_org(actor, "audit.organization.create", &org)
            .await;
        Ok(org)
    }

    pub async fn rename_org(&self, actor: &Actor, id: OrgId, name: &str) -> Result<Org> {
        check_name(name)?;
        let org = self
            .store()
            .rename_org(id, name)
            .await
            .map_err(|error| org_taken(error, name))?;
        self.audit_org(actor, "audit.organization.update", &org)
            .await;
        Ok(org)
    }

    /// Deletes an organization with its spaces, apps, routes and services. Instances stop soon after.
    pub async fn delete_org(&self, actor: &Actor, id: OrgId) -> Result<Job> {
        let org = self.org(actor, id).await?;
        self.cancel_work(&AppFilter {
            orgs: vec![id],
            ..AppFilter::default()
        })
        .await?;
        let apps = self
            .store()
            .delete_org(id)
            .await
            .or_not_found("Organization")?;
        self.forget(&apps).await?;
        self.audit_org(actor, "audit.organization.delete-request", &org)
            .await;
        self.completed("organization.delete").await
    }

    pub async fn create_space(&self, actor: &Actor, org: OrgId, name: &str) -> Result<Space> {
        check_name(name)?;
        let org = self.store().find_org(org).await?.ok_or_else(|| {
            Error::unprocessable(
                "Invalid organization. Ensure the organization exists and you have access to it.",
            )
        })?;
        let space = self
            .store()
            .insert_space(org.id, name)
            .await
            .map_err(space_taken)?;
        self.audit_space(actor, "audit.space.create", &space).await;
        Ok(space)
    }

    pub async fn rename_space(&self, actor: &Actor, id: SpaceId, name: &str) -> Result<Space> {
        check_name(name)?;
        let space = self
            .store()
            .rename_space(id, name)
            .await
            .map_err(space_taken)?;
        self.audit_space(actor, "audit.space.update", &space).await;
        Ok(space)
    }

    /// Deletes a space with its apps, routes and services. Instances stop soon after.
    pub async fn delete_space(&self, actor: &Actor, id: SpaceId) -> Result<Job> {
        let space = self.space(actor, id).await?;
        self.cancel_work(&AppFilter {
            spaces: vec![id],
            ..AppFilter::default()
        })
        .await?;
        let apps = self.store().delete_space(id).await.or_not_found("Space")?;
        self.forget(&apps).await?;
        self.audit_space(actor, "audit.space.delete-request", &space)
            .await;
        self.completed("space.delete").await
    }

    /// Builds and tasks of these apps.
    async fn cancel_work(&self, apps: &AppFilter) -> Result<()> {
        for app in self.store().list_apps(apps, PageRequest::ALL).await?.items {
            self.fleet().cancel_tasks_of(app.id).await?;
        }
        Ok(())
    }

    /// What ran of these apps, and led to them, is not wanted any more.
    async fn forget(&self, apps: &[AppId]) -> Result<()> {
        for app in apps {
            self.fleet().refresh_app(*app).await?;
        }
        self.reload_routes().await
    }

    async fn completed(&self, operation: &str) -> Result<Job> {
        Ok(self
            .store()
            .insert_job(operation, JobState::Complete, Vec::new())
            .await?)
    }

    async fn audit_org(&self, actor: &Actor, event_type: &str, org: &Org) {
        let target = Target {
            guid: org.id.to_string(),
            kind: "organization",
            name: &org.name,
            space: None,
        };
        self.audit(actor, event_type, target, json!({})).await;
    }

    async fn audit_space(&self, actor: &Actor, event_type: &str, space: &Space) {
        let target = Target {
            guid: space.id.to_string(),
            kind: "space",
            name: &space.name,
            space: Some(space.id),
        };
        self.audit(actor, event_type, target, json!({})).await;
    }
}

fn check_name(name: &str) -> Result<()> {
    let printable = !name.trim().is_empty() && !name.chars().any(char::is_control);
    if printable && name.len() <= 255 {
        Ok(())
    } else {
        Err(Error::unprocessable(
            "name must be 1 to 255 printable characters",
        ))
    }
}

fn org_taken(error: store::Error, name: &str) -> Error {
    match error {
        store::Error::Conflict(_) => {
            Error::Conflict(format!("Organization '{name}' already exists."))
        }
        store::Error::Missing => Error::NotFound {
            what: "Organization",
        },
        other => other.into(),
    }
}

fn space_taken(error: store::Error) -> Error {
    match error {
        store::Error::Conflict(_) => {
            Error::Conflict("Name must be unique per organization".to_owned())
        }
        store::Error::Missing => Error::NotFound { what: "Space" },
        other => other.into(),
    }
}
