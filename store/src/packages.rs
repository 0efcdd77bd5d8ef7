//! Packages, and which files they hold.

use model::digest::Digest;
use model::ids::{AppId, PackageId, SpaceId};
use sqlx::sqlite::SqliteRow;

use crate::error::{Error, Result, Tried};
use crate::paging::paged;
use crate::records::{Package, PackageState, Page, PageRequest, Resource};
use crate::rows::{self, corrupt, list, to_json};
use crate::{Store, now_us};

#[derive(Debug, Clone, Default)]
pub struct PackageFilter {
    pub guids: Vec<PackageId>,
    pub apps: Vec<AppId>,
    /// `AWAITING_UPLOAD`, `READY`, `FAILED`.
    pub states: Vec<String>,
    pub newest_first: bool,
}

fn package(row: &SqliteRow) -> Result<Package> {
    Ok(Package {
        id: rows::parsed(row, "guid")?,
        app: rows::parsed(row, "app")?,
        state: match rows::text(row, "state")?.as_str() {
            "AWAITING_UPLOAD" => PackageState::AwaitingUpload,
            "READY" => PackageState::Ready {
                digest: rows::parsed(row, "digest")?,
                size: rows::number(row, "size")?,
            },
            "FAILED" => PackageState::Failed {
                error: rows::text(row, "error")?,
            },
            _ => return Err(corrupt("packages.state")),
        },
        created_us: rows::big(row, "created_us")?,
        updated_us: rows::big(row, "updated_us")?,
    })
}

fn resource(row: &SqliteRow) -> Result<Resource> {
    Ok(Resource {
        sha1: rows::text(row, "sha1")?,
        size: rows::number(row, "size")?,
        package: rows::parsed(row, "package_digest")?,
        path: rows::text(row, "path")?,
        mode: rows::number(row, "mode")?,
    })
}

impl Store {
    pub async fn insert_package(&self, app: AppId) -> Result<Package> {
        let (id, now) = (PackageId::random(), now_us());
        sqlx::query("INSERT INTO packages (guid, app, state, created_us, updated_us) VALUES ($1, $2, 'AWAITING_UPLOAD', $3, $3)")
            .bind(id.to_string())
            .bind(app.to_string())
            .bind(now)
            .execute(&self.writer)
            .await
            .tried("insert a package")?;
        Ok(Package {
            id,
            app,
            state: PackageState::AwaitingUpload,
            created_us: now,
            updated_us: now,
        })
    }

    pub async fn find_package(&self, id: PackageId) -> Result<Option<Package>> {
        let row = sqlx::query("SELECT * FROM packages WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a package")?;
        row.as_ref().map(package).transpose()
    }

    pub async fn list_packages(
        &self,
        filter: &PackageFilter,
        page: PageRequest,
    ) -> Result<Page<Package>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
                "SELECT *, COUNT(*) OVER () AS total FROM packages
             WHERE ($1 IS NULL OR guid IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR app IN (SELECT value FROM json_each($2)))
               AND ($3 IS NULL OR state IN (SELECT value FROM json_each($3)))
             ORDER BY CASE WHEN $4 THEN -created_us ELSE created_us END, guid LIMIT $5 OFFSET $6",
            )
            .bind(list(&filter.guids))
            .bind(list(&filter.apps))
            .bind(list(&filter.states))
            .bind(filter.newest_first)
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(&self.reader)
        };
        paged(page, fetch, "list packages", package).await
    }

    /// Makes a package ready, once, and notes which files the space now has.
    pub async fn finish_package(
        &self,
        id: PackageId,
        space: SpaceId,
        digest: Digest,
        size: u64,
        files: &[Resource],
    ) -> Result<Package> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "UPDATE packages SET state = 'READY', digest = $2, size = $3, updated_us = $4
             WHERE guid = $1 AND state = 'AWAITING_UPLOAD' RETURNING *",
        )
        .bind(id.to_string())
        .bind(digest.to_string())
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(now_us())
        .fetch_optional(&mut *tx)
        .await
        .tried("finish a package")?
        .ok_or(Error::Missing)?;
        for file in files {
            sqlx::query(
                "INSERT INTO resources (space, sha1, size, package_digest, path, mode) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (space, sha1, size) DO UPDATE SET package_digest = $4, path = $5, mode = $6",
            )
            .bind(space.to_string())
            .bind(&file.sha1)
            .bind(i64::try_from(file.size).unwrap_or(i64::MAX))
            .bind(file.package.to_string())
            .bind(&file.path)
            .bind(i64::from(file.mode))
            .execute(&mut *tx)
            .await
            .tried("note a resource")?;
        }
        tx.commit().await.tried("commit a package")?;
        package(&row)
    }

    /// A package of `app` with the bits of another one, whose files its space then has too.
    pub async fn copy_package(
        &self,
        app: AppId,
        space: SpaceId,
        digest: Digest,
        size: u64,
    ) -> Result<Package> {
        let (id, now) = (PackageId::random(), now_us());
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "INSERT INTO packages (guid, app, state, digest, size, created_us, updated_us)
             VALUES ($1, $2, 'READY', $3, $4, $5, $5) RETURNING *",
        )
        .bind(id.to_string())
        .bind(app.to_string())
        .bind(digest.to_string())
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(now)
        .fetch_one(&mut *tx)
        .await
        .tried("copy a package")?;
        sqlx::query(
            "INSERT INTO resources (space, sha1, size, package_digest, path, mode)
             SELECT $1, sha1, size, package_digest, path, mode FROM resources WHERE package_digest = $2
             ON CONFLICT (space, sha1, size) DO NOTHING",
        )
        .bind(space.to_string())
        .bind(digest.to_string())
        .execute(&mut *tx)
        .await
        .tried("note the resources of a copy")?;
        tx.commit().await.tried("commit a copied package")?;
        package(&row)
    }

    /// Notes that an upload was refused. A package that another upload made ready stays so.
    pub async fn fail_package(&self, id: PackageId, error: &str) -> Result<()> {
        sqlx::query(
            "UPDATE packages SET state = 'FAILED', error = $2, updated_us = $3
             WHERE guid = $1 AND state = 'AWAITING_UPLOAD'",
        )
        .bind(id.to_string())
        .bind(error)
        .bind(now_us())
        .execute(&self.writer)
        .await
        .tried("fail a package")?;
        Ok(())
    }

    /// Notes that a client was just told which files of these packages it need not send, and may rely on that.
    pub async fn match_packages(&self, digests: &[Digest]) -> Result<()> {
        /// A client that asks in many calls causes one write.
        const OFTEN_US: i64 = 60 * 1_000_000;
        let now = now_us();
        sqlx::query(
            "UPDATE packages SET matched_us = $2
             WHERE digest IN (SELECT value FROM json_each($1)) AND matched_us < $3",
        )
        .bind(to_json(
            &digests.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ))
        .bind(now)
        .bind(now - OFTEN_US)
        .execute(&self.writer)
        .await
        .tried("note matched packages")?;
        Ok(())
    }

    /// The files among `sha1s` that some package of `spaces` holds.
    pub async fn find_resources(
        &self,
        spaces: &[SpaceId],
        sha1s: &[String],
    ) -> Result<Vec<Resource>> {
        let found = sqlx::query(
            "SELECT * FROM resources WHERE space IN (SELECT value FROM json_each($1))
               AND sha1 IN (SELECT value FROM json_each($2))",
        )
        .bind(to_json(
            &spaces.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ))
        .bind(to_json(&sha1s))
        .fetch_all(&self.reader)
        .await
        .tried("match resources")?;
        found.iter().map(resource).collect()
    }
}
