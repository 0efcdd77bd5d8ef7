//! Builds, and the droplets that come of them.

use model::ids::{AppId, BuildId, CellId, DropletId, PackageId, TaskId};
use model::limits::{Limits, Megabytes};
use model::task::StagingFailure;
use sqlx::sqlite::SqliteRow;

use crate::error::{Error, Result, Tried};
use crate::paging::paged;
use crate::records::{Build, BuildState, Droplet, Page, PageRequest, Placement};
use crate::rows::{self, corrupt, list, to_json};
use crate::{Store, now_us};

/// How a build ended.
#[derive(Debug, Clone)]
pub enum Staged {
    Droplet(Droplet),
    Failed(StagingFailure),
}

impl Store {
    fn build(&self, row: &SqliteRow) -> Result<Build> {
        let placed_cell: Option<CellId> = rows::parsed_opt(row, "placed_cell")?;
        Ok(Build {
            id: rows::parsed(row, "guid")?,
            app: rows::parsed(row, "app")?,
            package: rows::parsed(row, "package")?,
            state: match rows::text(row, "state")?.as_str() {
                "STAGING" => BuildState::Staging,
                "STAGED" => BuildState::Staged {
                    droplet: rows::parsed(row, "droplet")?,
                },
                "FAILED" => BuildState::Failed {
                    failure: match rows::bytes_opt(row, "failure")? {
                        Some(sealed) => self.seal.open("builds.failure", &sealed)?,
                        // Dropped by an upgrade, since it lay unsealed.
                        None => StagingFailure::Internal {
                            message: "the reason was not kept".into(),
                        },
                    },
                },
                _ => return Err(corrupt("builds.state")),
            },
            buildpacks: rows::json(row, "buildpacks")?,
            task: rows::parsed(row, "task")?,
            limits: Limits {
                memory: Megabytes(rows::number(row, "memory_mb")?),
                disk: Megabytes(rows::number(row, "disk_mb")?),
                pids: Limits::DEFAULT.pids,
            },
            placed: match placed_cell {
                None => None,
                Some(cell) => Some(Placement {
                    cell,
                    incarnation: rows::parsed(row, "placed_incarnation")?,
                    epoch: rows::number(row, "placed_epoch")?,
                }),
            },
            created_by: rows::text(row, "created_by")?,
            created_us: rows::big(row, "created_us")?,
            updated_us: rows::big(row, "updated_us")?,
        })
    }

    /// Inserts a build in its first state, staging.
    pub async fn insert_build(&self, new: &Build) -> Result<()> {
        sqlx::query(
            "INSERT INTO builds (guid, app, package, state, buildpacks, task, memory_mb, disk_mb, created_by, created_us, updated_us)
             VALUES ($1, $2, $3, 'STAGING', $4, $5, $6, $7, $8, $9, $9)",
        )
        .bind(new.id.to_string())
        .bind(new.app.to_string())
        .bind(new.package.to_string())
        .bind(to_json(&new.buildpacks))
        .bind(new.task.to_string())
        .bind(i64::from(new.limits.memory.0))
        .bind(i64::from(new.limits.disk.0))
        .bind(&new.created_by)
        .bind(new.created_us)
        .execute(&self.writer)
        .await
        .tried("insert a build")?;
        Ok(())
    }

    pub async fn find_build(&self, id: BuildId) -> Result<Option<Build>> {
        let row = sqlx::query("SELECT * FROM builds WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a build")?;
        row.as_ref().map(|row| self.build(row)).transpose()
    }

    pub async fn find_build_by_task(&self, task: TaskId) -> Result<Option<Build>> {
        let row = sqlx::query("SELECT * FROM builds WHERE task = $1")
            .bind(task.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a build by its task")?;
        row.as_ref().map(|row| self.build(row)).transpose()
    }

    /// Newest first.
    pub async fn list_builds(
        &self,
        apps: &[AppId],
        packages: &[PackageId],
        page: PageRequest,
    ) -> Result<Page<Build>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
                "SELECT *, COUNT(*) OVER () AS total FROM builds
             WHERE ($1 IS NULL OR app IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR package IN (SELECT value FROM json_each($2)))
             ORDER BY created_us DESC, guid LIMIT $3 OFFSET $4",
            )
            .bind(list(apps))
            .bind(list(packages))
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(&self.reader)
        };
        paged(page, fetch, "list builds", |row| self.build(row)).await
    }

    pub async fn list_staging_builds(&self) -> Result<Vec<Build>> {
        let found =
            sqlx::query("SELECT * FROM builds WHERE state = 'STAGING' ORDER BY created_us, guid")
                .fetch_all(&self.reader)
                .await
                .tried("list staging builds")?;
        found.iter().map(|row| self.build(row)).collect()
    }

    /// Notes where a build's task is about to be sent. Succeeds once: a task that was sent is never sent elsewhere.
    pub async fn place_build(&self, task: TaskId, placement: Placement) -> Result<()> {
        let done = sqlx::query(
            "UPDATE builds SET placed_cell = $2, placed_incarnation = $3, placed_epoch = $4, updated_us = $5
             WHERE task = $1 AND state = 'STAGING' AND placed_cell IS NULL",
        )
        .bind(task.to_string())
        .bind(placement.cell.to_string())
        .bind(placement.incarnation.to_string())
        .bind(i64::try_from(placement.epoch).unwrap_or(i64::MAX))
        .bind(now_us())
        .execute(&self.writer)
        .await
        .tried("place a build")?;
        if done.rows_affected() == 0 {
            Err(Error::Missing)
        } else {
            Ok(())
        }
    }

    /// Ends a build. A build that ended before stays as it is: [`Error::Missing`].
    pub async fn finish_build(&self, task: TaskId, staged: &Staged) -> Result<Build> {
        let mut tx = self.begin().await?;
        let (state, failure, droplet) = match staged {
            Staged::Droplet(droplet) => ("STAGED", None, Some(droplet.id)),
            Staged::Failed(failure) => (
                "FAILED",
                Some(self.seal.seal("builds.failure", failure)?),
                None::<DropletId>,
            ),
        };
        let row = sqlx::query(
            "UPDATE builds SET state = $2, failure = $3, droplet = $4, updated_us = $5
             WHERE task = $1 AND state = 'STAGING' RETURNING *",
        )
        .bind(task.to_string())
        .bind(state)
        .bind(failure)
        .bind(droplet.map(|id| id.to_string()))
        .bind(now_us())
        .fetch_optional(&mut *tx)
        .await
        .tried("finish a build")?
        .ok_or(Error::Missing)?;
        if let Staged::Droplet(droplet) = staged {
            sqlx::query("INSERT INTO droplets (guid, app, package, image, created_us) VALUES ($1, $2, $3, $4, $5)")
                .bind(droplet.id.to_string())
                .bind(droplet.app.to_string())
                .bind(droplet.package.to_string())
                .bind(to_json(&droplet.image))
                .bind(droplet.created_us)
                .execute(&mut *tx)
                .await
                .tried("insert a droplet")?;
            for layer in &droplet.image.layers {
                sqlx::query(
                    "INSERT INTO droplet_layers (droplet, digest, bytes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                )
                .bind(droplet.id.to_string())
                .bind(layer.diff_id.to_string())
                .bind(i64::try_from(layer.compressed_size).unwrap_or(i64::MAX))
                .execute(&mut *tx)
                .await
                .tried("note a droplet's layer")?;
            }
        }
        tx.commit().await.tried("commit a build")?;
        self.build(&row)
    }
}
