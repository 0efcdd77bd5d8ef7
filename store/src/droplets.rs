//! Droplets.

use model::ids::{AppId, DropletId, PackageId};
use sqlx::sqlite::SqliteRow;

use crate::Store;
use crate::error::{Result, Tried};
use crate::paging::paged;
use crate::records::{Droplet, Page, PageRequest};
use crate::rows::{self, list};

#[derive(Debug, Clone, Default)]
pub struct DropletFilter {
    pub guids: Vec<DropletId>,
    pub apps: Vec<AppId>,
    pub packages: Vec<PackageId>,
    pub newest_first: bool,
}

fn droplet(row: &SqliteRow) -> Result<Droplet> {
    Ok(Droplet {
        id: rows::parsed(row, "guid")?,
        app: rows::parsed(row, "app")?,
        package: rows::parsed(row, "package")?,
        image: rows::json(row, "image")?,
        created_us: rows::big(row, "created_us")?,
    })
}

impl Store {
    pub async fn find_droplet(&self, id: DropletId) -> Result<Option<Droplet>> {
        let row = sqlx::query("SELECT * FROM droplets WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a droplet")?;
        row.as_ref().map(droplet).transpose()
    }

    pub async fn list_droplets(
        &self,
        filter: &DropletFilter,
        page: PageRequest,
    ) -> Result<Page<Droplet>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
                "SELECT *, COUNT(*) OVER () AS total FROM droplets
             WHERE ($1 IS NULL OR guid IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR app IN (SELECT value FROM json_each($2)))
               AND ($3 IS NULL OR package IN (SELECT value FROM json_each($3)))
             ORDER BY CASE WHEN $4 THEN -created_us ELSE created_us END, guid LIMIT $5 OFFSET $6",
            )
            .bind(list(&filter.guids))
            .bind(list(&filter.apps))
            .bind(list(&filter.packages))
            .bind(filter.newest_first)
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(&self.reader)
        };
        paged(page, fetch, "list droplets", droplet).await
    }
}
