//! Organizations, spaces and domains: where apps live and what their names end in.

mod changes;

use model::ids::{DomainId, OrgId, SpaceId};
use sqlx::sqlite::SqliteRow;

use crate::error::{Result, Tried};
use crate::paging::paged;
use crate::records::{Domain, Org, Page, PageRequest, Space};
use crate::rows::{self, list};
use crate::{Store, now_us};

fn org(row: &SqliteRow) -> Result<Org> {
    Ok(Org {
        id: rows::parsed(row, "guid")?,
        name: rows::text(row, "name")?,
        created_us: rows::big(row, "created_us")?,
        updated_us: rows::big(row, "updated_us")?,
    })
}

fn space(row: &SqliteRow) -> Result<Space> {
    Ok(Space {
        id: rows::parsed(row, "guid")?,
        org: rows::parsed(row, "org")?,
        name: rows::text(row, "name")?,
        created_us: rows::big(row, "created_us")?,
        updated_us: rows::big(row, "updated_us")?,
    })
}

fn domain(row: &SqliteRow) -> Result<Domain> {
    Ok(Domain {
        id: rows::parsed(row, "guid")?,
        name: rows::text(row, "name")?,
        created_us: rows::big(row, "created_us")?,
    })
}

impl Store {
    pub async fn insert_org(&self, name: &str) -> Result<Org> {
        let (id, now) = (OrgId::random(), now_us());
        sqlx::query("INSERT INTO organizations (guid, name, created_us, updated_us) VALUES ($1, $2, $3, $3)")
            .bind(id.to_string())
            .bind(name)
            .bind(now)
            .execute(&self.writer)
            .await
            .tried("insert an organization")?;
        Ok(Org {
            id,
            name: name.to_owned(),
            created_us: now,
            updated_us: now,
        })
    }

    pub async fn insert_space(&self, org: OrgId, name: &str) -> Result<Space> {
        let (id, now) = (SpaceId::random(), now_us());
        sqlx::query("INSERT INTO spaces (guid, org, name, created_us, updated_us) VALUES ($1, $2, $3, $4, $4)")
            .bind(id.to_string())
            .bind(org.to_string())
            .bind(name)
            .bind(now)
            .execute(&self.writer)
            .await
            .tried("insert a space")?;
        Ok(Space {
            id,
            org,
            name: name.to_owned(),
            created_us: now,
            updated_us: now,
        })
    }

    pub async fn insert_domain(&self, name: &str) -> Result<Domain> {
        let (id, now) = (DomainId::random(), now_us());
        sqlx::query("INSERT INTO domains (guid, name, created_us) VALUES ($1, $2, $3)")
            .bind(id.to_string())
            .bind(name)
            .bind(now)
            .execute(&self.writer)
            .await
            .tried("insert a domain")?;
        Ok(Domain {
            id,
            name: name.to_owned(),
            created_us: now,
        })
    }

    pub async fn list_orgs(
        &self,
        names: &[String],
        guids: &[OrgId],
        page: PageRequest,
    ) -> Result<Page<Org>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
                "SELECT *, COUNT(*) OVER () AS total FROM organizations
             WHERE ($1 IS NULL OR name IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR guid IN (SELECT value FROM json_each($2)))
             ORDER BY name LIMIT $3 OFFSET $4",
            )
            .bind(list(names))
            .bind(list(guids))
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(&self.reader)
        };
        paged(page, fetch, "list organizations", org).await
    }

    pub async fn list_spaces(
        &self,
        names: &[String],
        guids: &[SpaceId],
        orgs: &[OrgId],
        page: PageRequest,
    ) -> Result<Page<Space>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
                "SELECT *, COUNT(*) OVER () AS total FROM spaces
             WHERE ($1 IS NULL OR name IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR guid IN (SELECT value FROM json_each($2)))
               AND ($3 IS NULL OR org IN (SELECT value FROM json_each($3)))
             ORDER BY name LIMIT $4 OFFSET $5",
            )
            .bind(list(names))
            .bind(list(guids))
            .bind(list(orgs))
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(&self.reader)
        };
        paged(page, fetch, "list spaces", space).await
    }

    pub async fn find_space(&self, id: SpaceId) -> Result<Option<Space>> {
        let row = sqlx::query("SELECT * FROM spaces WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a space")?;
        row.as_ref().map(space).transpose()
    }

    pub async fn find_org(&self, id: OrgId) -> Result<Option<Org>> {
        let row = sqlx::query("SELECT * FROM organizations WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find an organization")?;
        row.as_ref().map(org).transpose()
    }

    /// In the order of their making: the first is the default domain.
    pub async fn list_domains(
        &self,
        names: &[String],
        guids: &[DomainId],
        page: PageRequest,
    ) -> Result<Page<Domain>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
                "SELECT *, COUNT(*) OVER () AS total FROM domains
             WHERE ($1 IS NULL OR name IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR guid IN (SELECT value FROM json_each($2)))
             ORDER BY created_us, guid LIMIT $3 OFFSET $4",
            )
            .bind(list(names))
            .bind(list(guids))
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(&self.reader)
        };
        paged(page, fetch, "list domains", domain).await
    }
}
