//! Routes.

use model::ids::{AppId, DestinationId, RouteId};
use serde_json::json;
use store::records::{Job, JobState, Page, PageRequest, Route};
use store::{NewRoute, RouteFilter};

use crate::control::Target;
use crate::error::OrNotFound;
use crate::{Actor, Control, Error, Result};

impl Control {
    pub async fn list_routes(
        &self,
        _: &Actor,
        filter: &RouteFilter,
        page: PageRequest,
    ) -> Result<Page<Route>> {
        let mut filter = filter.clone();
        for path in filter.paths.iter_mut().flatten() {
            *path = without_end_slashes(path).to_owned();
        }
        Ok(self.store().list_routes(&filter, page).await?)
    }

    pub async fn route(&self, _: &Actor, id: RouteId) -> Result<Route> {
        self.store().find_route(id).await.or_not_found("Route")
    }

    pub async fn create_route(&self, actor: &Actor, new: NewRoute) -> Result<Route> {
        self.space_of(new.space).await?;
        let domain = self.domain(actor, new.domain).await?;
        check_host(&new.host)?;
        let path = without_end_slashes(&new.path).to_owned();
        check_path(&path)?;
        let name = if new.host.is_empty() {
            domain.name.clone()
        } else {
            format!("{}.{}", new.host, domain.name)
        };
        if self.settings().control_hosts.contains(&name.to_lowercase()) {
            return Err(Error::Unprocessable(format!(
                "'{name}' is the platform's own address and can't be an app's route"
            )));
        }
        let new = NewRoute {
            host: new.host.to_lowercase(),
            path,
            ..new
        };
        let id = self
            .store()
            .insert_route(&new)
            .await
            .map_err(|error| match error {
                store::Error::Conflict(_) => {
                    let path = if new.path.is_empty() {
                        String::new()
                    } else {
                        format!(" and path '{}'", new.path)
                    };
                    Error::Conflict(format!(
                        "Route already exists with host '{}'{path} for domain '{}'.",
                        new.host, domain.name
                    ))
                }
                other => other.into(),
            })?;
        let route = self.route(actor, id).await?;
        self.reload_routes().await?;
        self.audit_route(actor, "audit.route.create", &route).await;
        Ok(route)
    }

    pub async fn delete_route(&self, actor: &Actor, id: RouteId) -> Result<Job> {
        let route = self.route(actor, id).await?;
        self.store().delete_route(id).await.or_not_found("Route")?;
        self.reload_routes().await?;
        self.audit_route(actor, "audit.route.delete-request", &route)
            .await;
        Ok(self
            .store()
            .insert_job("route.delete", JobState::Complete, Vec::new())
            .await?)
    }

    /// Deletes the routes of a space that lead to no app.
    pub async fn delete_unmapped_routes(
        &self,
        actor: &Actor,
        space: model::ids::SpaceId,
    ) -> Result<Job> {
        let filter = RouteFilter {
            spaces: vec![space],
            ..RouteFilter::default()
        };
        let known = self.store().list_routes(&filter, PageRequest::ALL).await?;
        let gone = self.store().delete_unmapped_routes(space).await?;
        self.reload_routes().await?;
        for route in known.items.iter().filter(|route| gone.contains(&route.id)) {
            self.audit_route(actor, "audit.route.delete-request", route)
                .await;
        }
        Ok(self
            .store()
            .insert_job(
                "space.delete_unmapped_routes",
                JobState::Complete,
                Vec::new(),
            )
            .await?)
    }

    /// Leads a route to processes; those it leads to already stay.
    pub async fn add_destinations(
        &self,
        actor: &Actor,
        id: RouteId,
        targets: &[(AppId, String)],
    ) -> Result<Route> {
        let route = self.route(actor, id).await?;
        for (app, _) in targets {
            let app = self.app(actor, *app).await?;
            if app.space != route.space {
                return Err(Error::unprocessable(
                    "Routes cannot be mapped to destinations in different spaces.",
                ));
            }
        }
        self.store().insert_destinations(id, targets).await?;
        self.reload_routes().await?;
        self.audit_route(actor, "audit.app.map-route", &route).await;
        self.route(actor, id).await
    }

    pub async fn remove_destination(
        &self,
        actor: &Actor,
        id: RouteId,
        destination: DestinationId,
    ) -> Result<()> {
        let route = self.route(actor, id).await?;
        let unknown = || {
            Error::unprocessable(
                "Unable to unmap route from destination. Ensure the route has a destination with this guid.",
            )
        };
        match self.store().delete_destination(id, destination).await {
            Ok(()) => {}
            Err(store::Error::Missing) => return Err(unknown()),
            Err(other) => return Err(other.into()),
        }
        self.reload_routes().await?;
        self.audit_route(actor, "audit.app.unmap-route", &route)
            .await;
        Ok(())
    }

    async fn audit_route(&self, actor: &Actor, event_type: &str, route: &Route) {
        let url = self.route_url(route);
        let target = Target {
            guid: route.id.to_string(),
            kind: "route",
            name: &url,
            space: Some(route.space),
        };
        self.audit(actor, event_type, target, json!({})).await;
    }
}

/// A host is one or more DNS labels, or `*`, or nothing.
pub(crate) fn check_host(host: &str) -> Result<()> {
    let label = |label: &str| {
        let edges = !label.starts_with('-') && !label.ends_with('-');
        edges
            && (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if host.is_empty() || host == "*" || (host.len() <= 200 && host.split('.').all(label)) {
        Ok(())
    } else {
        Err(Error::Unprocessable(format!(
            "host '{host}' must be DNS labels of letters, digits and '-', at most 63 characters each"
        )))
    }
}

/// A path in the one form that routes are kept and looked up in. What has nothing but slashes stays, for [`check_path`].
fn without_end_slashes(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => path,
        shorter => shorter,
    }
}

pub(crate) fn check_path(path: &str) -> Result<()> {
    let fine = path.is_empty()
        || (path.starts_with('/')
            && !path.ends_with('/')
            && path.len() <= 128
            && !path.contains(['?', '#', ' '])
            && !path.contains(char::is_control));
    if fine {
        Ok(())
    } else {
        Err(Error::Unprocessable(format!(
            "path '{path}' must begin with '/', hold more than slashes, and hold no '?'; leave it out for all paths"
        )))
    }
}
