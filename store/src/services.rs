//! User-provided service instances and their bindings to apps.

use model::ids::{AppId, BindingId, ServiceInstanceId, SpaceId};
use model::secret::Secret;
use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;

use crate::error::{Error, Result, Tried};
use crate::paging::paged;
use crate::records::{Binding, Metadata, Page, PageRequest, ServiceInstance};
use crate::rows::{self, list, to_json};
use crate::{Store, now_us};

#[derive(Debug, Clone, Default)]
pub struct ServiceInstanceFilter {
    pub names: Vec<String>,
    pub guids: Vec<ServiceInstanceId>,
    pub spaces: Vec<SpaceId>,
    pub labels: Vec<crate::LabelNeed>,
}

#[derive(Debug, Clone, Default)]
pub struct BindingFilter {
    pub guids: Vec<BindingId>,
    pub apps: Vec<AppId>,
    pub service_instances: Vec<ServiceInstanceId>,
    pub names: Vec<String>,
}

/// What changes of a service instance; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct ServiceInstanceUpdate {
    pub name: Option<String>,
    pub credentials: Option<Secret<Map<String, Value>>>,
    pub tags: Option<Vec<String>>,
    pub syslog_drain_url: Option<Option<Secret>>,
    pub route_service_url: Option<Option<String>>,
    pub metadata: Option<Metadata>,
}

fn binding(row: &SqliteRow) -> Result<Binding> {
    Ok(Binding {
        id: rows::parsed(row, "guid")?,
        app: rows::parsed(row, "app")?,
        service_instance: rows::parsed(row, "service_instance")?,
        name: rows::text_opt(row, "name")?,
        created_us: rows::big(row, "created_us")?,
    })
}

impl Store {
    fn service_instance(&self, row: &SqliteRow) -> Result<ServiceInstance> {
        let drain = rows::bytes_opt(row, "syslog_drain_url")?;
        Ok(ServiceInstance {
            id: rows::parsed(row, "guid")?,
            space: rows::parsed(row, "space")?,
            name: rows::text(row, "name")?,
            credentials: self.seal.open(
                "service_instances.credentials",
                &rows::bytes(row, "credentials")?,
            )?,
            tags: rows::json(row, "tags")?,
            syslog_drain_url: drain
                .map(|sealed| {
                    self.seal
                        .open("service_instances.syslog_drain_url", &sealed)
                })
                .transpose()?,
            route_service_url: rows::text_opt(row, "route_service_url")?,
            metadata: rows::json(row, "metadata")?,
            created_us: rows::big(row, "created_us")?,
            updated_us: rows::big(row, "updated_us")?,
        })
    }

    fn sealed_drain(&self, url: Option<&Secret>) -> Result<Option<Vec<u8>>> {
        url.map(|url| self.seal.seal("service_instances.syslog_drain_url", url))
            .transpose()
    }

    pub async fn insert_service_instance(&self, new: &ServiceInstance) -> Result<()> {
        sqlx::query(
            "INSERT INTO service_instances
                 (guid, space, name, credentials, tags, syslog_drain_url, route_service_url, metadata, created_us, updated_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(new.id.to_string())
        .bind(new.space.to_string())
        .bind(&new.name)
        .bind(self.seal.seal("service_instances.credentials", &new.credentials)?)
        .bind(to_json(&new.tags))
        .bind(self.sealed_drain(new.syslog_drain_url.as_ref())?)
        .bind(&new.route_service_url)
        .bind(to_json(&new.metadata))
        .bind(new.created_us)
        .bind(new.updated_us)
        .execute(&self.writer)
        .await
        .tried("insert a service instance")?;
        Ok(())
    }

    pub async fn find_service_instance(
        &self,
        id: ServiceInstanceId,
    ) -> Result<Option<ServiceInstance>> {
        let row = sqlx::query("SELECT * FROM service_instances WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a service instance")?;
        row.as_ref()
            .map(|row| self.service_instance(row))
            .transpose()
    }

    /// In order of name.
    pub async fn list_service_instances(
        &self,
        filter: &ServiceInstanceFilter,
        page: PageRequest,
    ) -> Result<Page<ServiceInstance>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
                "SELECT *, COUNT(*) OVER () AS total FROM service_instances
             WHERE ($1 IS NULL OR name IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR guid IN (SELECT value FROM json_each($2)))
               AND ($3 IS NULL OR space IN (SELECT value FROM json_each($3)))
               AND NOT EXISTS (
                 SELECT 1 FROM json_each($4) AS need
                 WHERE (need.value ->> 'wanted') <> EXISTS (
                   SELECT 1 FROM json_each(service_instances.metadata, '$.labels') AS label
                   WHERE label.key = need.value ->> 'key'
                     AND (need.value ->> 'values' IS NULL
                       OR label.value IN (SELECT value FROM json_each(need.value, '$.values')))))
             ORDER BY name, guid LIMIT $5 OFFSET $6",
            )
            .bind(list(&filter.names))
            .bind(list(&filter.guids))
            .bind(list(&filter.spaces))
            .bind(to_json(&filter.labels))
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(&self.reader)
        };
        paged(page, fetch, "list service instances", |row| {
            self.service_instance(row)
        })
        .await
    }

    pub async fn update_service_instance(
        &self,
        id: ServiceInstanceId,
        update: &ServiceInstanceUpdate,
    ) -> Result<ServiceInstance> {
        let credentials = update
            .credentials
            .as_ref()
            .map(|credentials| self.seal.seal("service_instances.credentials", credentials))
            .transpose()?;
        let drain = update
            .syslog_drain_url
            .as_ref()
            .map(|url| self.sealed_drain(url.as_ref()))
            .transpose()?;
        let row = sqlx::query(
            "UPDATE service_instances SET name = COALESCE($2, name), credentials = COALESCE($3, credentials),
                 tags = COALESCE($4, tags),
                 syslog_drain_url = CASE WHEN $5 THEN $6 ELSE syslog_drain_url END,
                 route_service_url = CASE WHEN $7 THEN $8 ELSE route_service_url END,
                 metadata = COALESCE($9, metadata), updated_us = $10
             WHERE guid = $1 RETURNING *",
        )
        .bind(id.to_string())
        .bind(&update.name)
        .bind(credentials)
        .bind(update.tags.as_ref().map(to_json))
        .bind(drain.is_some())
        .bind(drain.flatten())
        .bind(update.route_service_url.is_some())
        .bind(update.route_service_url.clone().flatten())
        .bind(update.metadata.as_ref().map(to_json))
        .bind(now_us())
        .fetch_optional(&self.writer)
        .await
        .tried("update a service instance")?;
        self.service_instance(&row.ok_or(Error::Missing)?)
    }

    pub async fn delete_service_instance(&self, id: ServiceInstanceId) -> Result<()> {
        let done = sqlx::query("DELETE FROM service_instances WHERE guid = $1")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .tried("delete a service instance")?;
        if done.rows_affected() == 0 {
            Err(Error::Missing)
        } else {
            Ok(())
        }
    }

    pub async fn insert_binding(&self, new: &Binding) -> Result<()> {
        sqlx::query("INSERT INTO bindings (guid, app, service_instance, name, created_us) VALUES ($1, $2, $3, $4, $5)")
            .bind(new.id.to_string())
            .bind(new.app.to_string())
            .bind(new.service_instance.to_string())
            .bind(&new.name)
            .bind(new.created_us)
            .execute(&self.writer)
            .await
            .tried("insert a binding")?;
        Ok(())
    }

    /// In the order of their making.
    pub async fn list_bindings(
        &self,
        filter: &BindingFilter,
        page: PageRequest,
    ) -> Result<Page<Binding>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
                "SELECT *, COUNT(*) OVER () AS total FROM bindings
             WHERE ($1 IS NULL OR guid IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR app IN (SELECT value FROM json_each($2)))
               AND ($3 IS NULL OR service_instance IN (SELECT value FROM json_each($3)))
               AND ($4 IS NULL OR name IN (SELECT value FROM json_each($4)))
             ORDER BY created_us, guid LIMIT $5 OFFSET $6",
            )
            .bind(list(&filter.guids))
            .bind(list(&filter.apps))
            .bind(list(&filter.service_instances))
            .bind(list(&filter.names))
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(&self.reader)
        };
        paged(page, fetch, "list bindings", binding).await
    }

    pub async fn delete_binding(&self, id: BindingId) -> Result<()> {
        let done = sqlx::query("DELETE FROM bindings WHERE guid = $1")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .tried("delete a binding")?;
        if done.rows_affected() == 0 {
            Err(Error::Missing)
        } else {
            Ok(())
        }
    }
}
