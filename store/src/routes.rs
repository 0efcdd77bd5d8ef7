//! Routes and their destinations.

use std::collections::BTreeMap;

use model::ids::{AppId, DestinationId, DomainId, OrgId, RouteId, SpaceId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::error::{Error, Result, Tried};
use crate::records::{Destination, Page, PageRequest, Route};
use crate::rows::{self, corrupt, exact, list, to_json};
use crate::{Store, now_us};

#[derive(Debug, Clone, Default)]
pub struct RouteFilter {
    pub guids: Vec<RouteId>,
    pub spaces: Vec<SpaceId>,
    pub orgs: Vec<OrgId>,
    pub domains: Vec<DomainId>,
    /// `Some` of an empty text asks for routes without a host.
    pub hosts: Option<Vec<String>>,
    pub paths: Option<Vec<String>>,
    pub apps: Vec<AppId>,
}

#[derive(Debug, Clone)]
pub struct NewRoute {
    pub space: SpaceId,
    pub domain: DomainId,
    pub host: String,
    pub path: String,
}

fn route(row: &SqliteRow) -> Result<Route> {
    Ok(Route {
        id: rows::parsed(row, "guid")?,
        space: rows::parsed(row, "space")?,
        domain: rows::parsed(row, "domain")?,
        domain_name: rows::text(row, "domain_name")?,
        host: rows::text(row, "host")?,
        path: rows::text(row, "path")?,
        destinations: Vec::new(),
        created_us: rows::big(row, "created_us")?,
        updated_us: rows::big(row, "updated_us")?,
    })
}

impl Store {
    /// Makes a route, unless another leads to the same address: the same host and path in the same domain, or split into host and
    /// domain elsewhere.
    pub async fn insert_route(&self, new: &NewRoute) -> Result<RouteId> {
        let id = RouteId::random();
        let inserted = sqlx::query(
            "INSERT INTO routes (guid, space, domain, host, path, created_us, updated_us)
             SELECT $1, $2, $3, $4, $5, $6, $6
             WHERE NOT EXISTS
                 (SELECT 1 FROM routes JOIN domains ON domains.guid = routes.domain
                  WHERE routes.domain <> $3 AND rtrim(routes.path, '/') = $5
                    AND lower(ltrim(routes.host || '.' || domains.name, '.')) =
                        (SELECT lower(ltrim($4 || '.' || name, '.')) FROM domains WHERE guid = $3))",
        )
        .bind(id.to_string())
        .bind(new.space.to_string())
        .bind(new.domain.to_string())
        .bind(&new.host)
        .bind(&new.path)
        .bind(now_us())
        .execute(&self.writer)
        .await
        .tried("insert a route")?;
        if inserted.rows_affected() == 0 {
            return Err(Error::Conflict("routes.host, routes.path".into()));
        }
        Ok(id)
    }

    pub async fn find_route(&self, id: RouteId) -> Result<Option<Route>> {
        let filter = RouteFilter {
            guids: vec![id],
            ..RouteFilter::default()
        };
        Ok(self
            .list_routes(&filter, PageRequest::ALL)
            .await?
            .items
            .pop())
    }

    pub async fn list_routes(
        &self,
        filter: &RouteFilter,
        page: PageRequest,
    ) -> Result<Page<Route>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
            "SELECT routes.*, domains.name AS domain_name, COUNT(*) OVER () AS total
             FROM routes JOIN domains ON domains.guid = routes.domain
             WHERE ($1 IS NULL OR routes.guid IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR space IN (SELECT value FROM json_each($2)))
               AND ($3 IS NULL OR space IN (SELECT guid FROM spaces WHERE org IN (SELECT value FROM json_each($3))))
               AND ($4 IS NULL OR domain IN (SELECT value FROM json_each($4)))
               AND ($5 IS NULL OR host IN (SELECT value FROM json_each($5)))
               AND ($6 IS NULL OR path IN (SELECT value FROM json_each($6)))
               AND ($7 IS NULL OR routes.guid IN
                    (SELECT route FROM destinations WHERE app IN (SELECT value FROM json_each($7))))
             ORDER BY routes.created_us, routes.guid LIMIT $8 OFFSET $9",
        )
        .bind(list(&filter.guids))
        .bind(list(&filter.spaces))
        .bind(list(&filter.orgs))
        .bind(list(&filter.domains))
        .bind(exact(filter.hosts.as_ref()))
        .bind(exact(filter.paths.as_ref()))
        .bind(list(&filter.apps))
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(&self.reader)
        };
        let mut page = crate::paging::paged(page, fetch, "list routes", route).await?;
        self.add_destinations_to(&mut page.items).await?;
        Ok(page)
    }

    /// All routes there are, for the routers' table.
    pub async fn all_routes(&self) -> Result<Vec<Route>> {
        let found = sqlx::query(
            "SELECT routes.*, domains.name AS domain_name FROM routes JOIN domains ON domains.guid = routes.domain
             ORDER BY routes.guid",
        )
        .fetch_all(&self.reader)
        .await
        .tried("list all routes")?;
        let mut routes = found.iter().map(route).collect::<Result<Vec<_>>>()?;
        self.add_destinations_to(&mut routes).await?;
        Ok(routes)
    }

    async fn add_destinations_to(&self, routes: &mut [Route]) -> Result<()> {
        let ids = routes
            .iter()
            .map(|route| route.id.to_string())
            .collect::<Vec<_>>();
        let found = sqlx::query(
            "SELECT guid, route, app, process_type FROM destinations
             WHERE route IN (SELECT value FROM json_each($1)) ORDER BY created_us, guid",
        )
        .bind(to_json(&ids))
        .fetch_all(&self.reader)
        .await
        .tried("list destinations")?;
        let mut by_route: BTreeMap<String, Vec<Destination>> = BTreeMap::new();
        for row in &found {
            let route: String = row
                .try_get("route")
                .map_err(|_| corrupt("destinations.route"))?;
            by_route.entry(route).or_default().push(Destination {
                id: rows::parsed(row, "guid")?,
                app: rows::parsed(row, "app")?,
                process_type: rows::text(row, "process_type")?,
            });
        }
        for route in routes {
            route.destinations = by_route.remove(&route.id.to_string()).unwrap_or_default();
        }
        Ok(())
    }

    /// Adds destinations; one that is there already stays as it is.
    pub async fn insert_destinations(
        &self,
        route: RouteId,
        targets: &[(AppId, String)],
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        for (app, process_type) in targets {
            sqlx::query(
                "INSERT INTO destinations (guid, route, app, process_type, created_us) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (route, app, process_type) DO NOTHING",
            )
            .bind(DestinationId::random().to_string())
            .bind(route.to_string())
            .bind(app.to_string())
            .bind(process_type)
            .bind(now_us())
            .execute(&mut *tx)
            .await
            .tried("insert a destination")?;
        }
        tx.commit().await.tried("commit destinations")
    }

    pub async fn delete_destination(
        &self,
        route: RouteId,
        destination: DestinationId,
    ) -> Result<()> {
        let done = sqlx::query("DELETE FROM destinations WHERE guid = $1 AND route = $2")
            .bind(destination.to_string())
            .bind(route.to_string())
            .execute(&self.writer)
            .await
            .tried("delete a destination")?;
        if done.rows_affected() == 0 {
            Err(Error::Missing)
        } else {
            Ok(())
        }
    }

    /// Deletes the routes of a space that lead to no app, and returns them.
    pub async fn delete_unmapped_routes(&self, space: SpaceId) -> Result<Vec<RouteId>> {
        let gone: Vec<String> = sqlx::query_scalar(
            "DELETE FROM routes WHERE space = $1
               AND NOT EXISTS (SELECT 1 FROM destinations WHERE destinations.route = routes.guid) RETURNING guid",
        )
        .bind(space.to_string())
        .fetch_all(&self.writer)
        .await
        .tried("delete unmapped routes")?;
        gone.iter()
            .map(|guid| guid.parse().map_err(|_| corrupt("routes.guid")))
            .collect()
    }

    pub async fn delete_route(&self, id: RouteId) -> Result<()> {
        let done = sqlx::query("DELETE FROM routes WHERE guid = $1")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .tried("delete a route")?;
        if done.rows_affected() == 0 {
            Err(Error::Missing)
        } else {
            Ok(())
        }
    }
}
