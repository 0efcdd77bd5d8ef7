//! Processes of apps.

use model::health::HealthCheck;
use model::ids::{AppId, ProcessId, SpaceId};
use model::limits::Megabytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use crate::error::{Error, Result, Tried};
use crate::paging::paged;
use crate::records::{Figures, Page, PageRequest, Process, Resized};
use crate::rows::{self, list, to_json};
use crate::{Store, now_us};

/// What changes of a process; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct ProcessUpdate {
    pub instances: Option<u32>,
    pub memory: Option<Megabytes>,
    pub disk: Option<Megabytes>,
    /// `Some(None)` takes the limit away.
    pub log_rate: Option<Option<u64>>,
    /// `Some(None)` goes back to the droplet's command.
    pub command: Option<Option<String>>,
    pub health: Option<HealthCheck>,
}

fn process(row: &SqliteRow) -> Result<Process> {
    Ok(Process {
        id: rows::parsed(row, "guid")?,
        app: rows::parsed(row, "app")?,
        process_type: rows::text(row, "type")?,
        command: rows::text_opt(row, "command")?,
        instances: rows::number(row, "instances")?,
        memory: Megabytes(rows::number(row, "memory_mb")?),
        disk: Megabytes(rows::number(row, "disk_mb")?),
        log_rate: rows::big_opt(row, "log_rate")?.map(|rate| u64::try_from(rate).unwrap_or(0)),
        health: rows::json(row, "health")?,
        created_us: rows::big(row, "created_us")?,
        updated_us: rows::big(row, "updated_us")?,
    })
}

impl Process {
    #[must_use]
    pub const fn figures(&self) -> Figures {
        Figures {
            instances: self.instances,
            memory: self.memory,
            disk: self.disk,
            log_rate: self.log_rate,
        }
    }
}

impl Resized {
    /// `now` without what this brought. A figure that somebody has changed since stays.
    #[must_use]
    pub fn undone(&self, now: Figures) -> Figures {
        fn undo<T: PartialEq>(before: T, after: &T, now: T) -> T {
            if now == *after { before } else { now }
        }
        let (before, after) = (self.before, self.after);
        Figures {
            instances: undo(before.instances, &after.instances, now.instances),
            memory: undo(before.memory, &after.memory, now.memory),
            disk: undo(before.disk, &after.disk, now.disk),
            log_rate: undo(before.log_rate, &after.log_rate, now.log_rate),
        }
    }
}

impl From<Figures> for ProcessUpdate {
    fn from(figures: Figures) -> Self {
        Self {
            instances: Some(figures.instances),
            memory: Some(figures.memory),
            disk: Some(figures.disk),
            log_rate: Some(figures.log_rate),
            ..Self::default()
        }
    }
}

fn as_big(rate: u64) -> i64 {
    i64::try_from(rate).unwrap_or(i64::MAX)
}

impl Store {
    pub async fn insert_process(&self, process: &Process) -> Result<()> {
        sqlx::query(
            "INSERT INTO processes (guid, app, type, command, instances, memory_mb, disk_mb, health, created_us, updated_us, log_rate)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(process.id.to_string())
        .bind(process.app.to_string())
        .bind(&process.process_type)
        .bind(&process.command)
        .bind(i64::from(process.instances))
        .bind(i64::from(process.memory.0))
        .bind(i64::from(process.disk.0))
        .bind(to_json(&process.health))
        .bind(process.created_us)
        .bind(process.updated_us)
        .bind(process.log_rate.map(as_big))
        .execute(&self.writer)
        .await
        .tried("insert a process")?;
        Ok(())
    }

    pub async fn find_process(&self, id: ProcessId) -> Result<Option<Process>> {
        let row = sqlx::query("SELECT * FROM processes WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a process")?;
        row.as_ref().map(process).transpose()
    }

    /// `web` first, then by name.
    pub async fn list_processes(
        &self,
        guids: &[ProcessId],
        apps: &[AppId],
        spaces: &[SpaceId],
        page: PageRequest,
    ) -> Result<Page<Process>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
            "SELECT processes.*, COUNT(*) OVER () AS total FROM processes
             WHERE ($1 IS NULL OR guid IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR app IN (SELECT value FROM json_each($2)))
               AND ($3 IS NULL OR app IN (SELECT guid FROM apps WHERE space IN (SELECT value FROM json_each($3))))
             ORDER BY app, CASE WHEN type = 'web' THEN 0 ELSE 1 END, type LIMIT $4 OFFSET $5",
        )
        .bind(list(guids))
        .bind(list(apps))
        .bind(list(spaces))
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(&self.reader)
        };
        paged(page, fetch, "list processes", process).await
    }

    pub async fn update_process(&self, id: ProcessId, update: &ProcessUpdate) -> Result<Process> {
        let mut tx = self.begin().await?;
        let process = update_in(&mut tx, id, update).await?;
        tx.commit().await.tried("commit a process")?;
        Ok(process)
    }

    /// [`Store::update_process`], and as many instances run from now on, if any are desired.
    pub async fn scale_process(&self, id: ProcessId, update: &ProcessUpdate) -> Result<Process> {
        let mut tx = self.begin().await?;
        let process = update_in(&mut tx, id, update).await?;
        if update.instances.is_some() {
            sqlx::query(
                "UPDATE desired_lrps SET instances = $2, updated_us = $3 WHERE process = $1",
            )
            .bind(id.to_string())
            .bind(i64::from(process.instances))
            .bind(now_us())
            .execute(&mut *tx)
            .await
            .tried("scale a desired LRP")?;
        }
        tx.commit().await.tried("commit a scaled process")?;
        Ok(process)
    }
}

pub(crate) async fn find_in(
    tx: &mut Transaction<'static, Sqlite>,
    id: ProcessId,
) -> Result<Option<Process>> {
    let row = sqlx::query("SELECT * FROM processes WHERE guid = $1")
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await
        .tried("find a process")?;
    row.as_ref().map(process).transpose()
}

pub(crate) async fn update_in(
    tx: &mut Transaction<'static, Sqlite>,
    id: ProcessId,
    update: &ProcessUpdate,
) -> Result<Process> {
    let row = sqlx::query(
            "UPDATE processes SET instances = COALESCE($2, instances), memory_mb = COALESCE($3, memory_mb),
                 disk_mb = COALESCE($4, disk_mb), health = COALESCE($5, health),
                 command = CASE WHEN $6 THEN $7 ELSE command END, updated_us = $8,
                 log_rate = CASE WHEN $9 THEN $10 ELSE log_rate END
             WHERE guid = $1 RETURNING *",
        )
        .bind(id.to_string())
        .bind(update.instances.map(i64::from))
        .bind(update.memory.map(|memory| i64::from(memory.0)))
        .bind(update.disk.map(|disk| i64::from(disk.0)))
        .bind(update.health.as_ref().map(to_json))
        .bind(update.command.is_some())
        .bind(update.command.clone().flatten())
        .bind(now_us())
        .bind(update.log_rate.is_some())
        .bind(update.log_rate.flatten().map(as_big))
        .fetch_optional(&mut **tx)
        .await
        .tried("update a process")?;
    process(&row.ok_or(Error::Missing)?)
}
