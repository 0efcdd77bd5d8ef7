//! One-off tasks. Every change of state is compare-and-set: whoever comes late with a report or a wish changes nothing.

use model::droplet::Stack;
use model::ids::{AppId, CellId, DropletId, OrgId, SpaceId, TaskId};
use model::limits::{Limits, Megabytes};
use model::secret::Secret;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use crate::error::{Error, Result, Tried};
use crate::paging::paged;
use crate::records::{Metadata, Page, PageRequest, Placement, Task, TaskPlan, TaskState};
use crate::rows::{self, corrupt, list, to_json};
use crate::{Store, now_us};

const COMMAND: &str = "tasks.command";
const PLAN: &str = "tasks.plan";

/// A task as somebody asks for it.
#[derive(Debug, Clone)]
pub struct NewTask {
    pub id: TaskId,
    pub app: AppId,
    pub name: String,
    pub command: Secret,
    pub droplet: DropletId,
    pub stack: Stack,
    pub limits: Limits,
    pub metadata: Metadata,
    pub plan: TaskPlan,
    pub created_by: String,
}

#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    pub guids: Vec<TaskId>,
    pub names: Vec<String>,
    /// As [`TaskState::name`] has them.
    pub states: Vec<String>,
    pub sequences: Vec<u32>,
    pub apps: Vec<AppId>,
    pub spaces: Vec<SpaceId>,
    pub orgs: Vec<OrgId>,
    pub order: TaskOrder,
}

/// By the time of creation, the oldest first, where it does not say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskOrder {
    /// By the time of the last change.
    pub by_change: bool,
    pub descending: bool,
}

/// Who says how a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskTeller {
    /// A cell; it is believed only where the task was sent to it.
    Cell(CellId),
    Server,
}

/// The end of a task as it was written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedTask {
    pub task: Task,
    /// How many older finished tasks of its app gave way.
    pub pruned: u64,
}

impl Store {
    fn task(&self, row: &SqliteRow) -> Result<Task> {
        let placed_cell: Option<CellId> = rows::parsed_opt(row, "placed_cell")?;
        Ok(Task {
            id: rows::parsed(row, "guid")?,
            app: rows::parsed(row, "app")?,
            sequence: rows::number(row, "sequence")?,
            name: rows::text(row, "name")?,
            command: self.seal.open(COMMAND, &rows::bytes(row, "command")?)?,
            state: match rows::text(row, "state")?.as_str() {
                "PENDING" => TaskState::Pending,
                "RUNNING" => TaskState::Running,
                "CANCELING" => TaskState::Canceling,
                "SUCCEEDED" => TaskState::Succeeded,
                "FAILED" => TaskState::Failed {
                    reason: rows::text(row, "failure")?,
                },
                _ => return Err(corrupt("tasks.state")),
            },
            droplet: rows::parsed(row, "droplet")?,
            stack: Stack(rows::text(row, "stack")?),
            limits: Limits {
                memory: Megabytes(rows::number(row, "memory_mb")?),
                disk: Megabytes(rows::number(row, "disk_mb")?),
                pids: Limits::DEFAULT.pids,
            },
            metadata: rows::json(row, "metadata")?,
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

    /// Inserts a pending task under the next number of its app. None where `max_open` tasks of the app have not ended yet.
    pub async fn insert_task(&self, new: &NewTask, max_open: u32) -> Result<Option<Task>> {
        let mut tx = self.begin().await?;
        let open: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM tasks WHERE app = $1 AND state IN ('PENDING', 'RUNNING', 'CANCELING')",
        )
        .bind(new.app.to_string())
        .fetch_one(&mut *tx)
        .await
        .tried("count an app's tasks")?;
        if open >= i64::from(max_open) {
            return Ok(None);
        }
        let row = sqlx::query(
            "INSERT INTO tasks (guid, app, sequence, name, command, state, droplet, stack, plan, memory_mb, disk_mb,
                 metadata, created_by, created_us, updated_us)
             VALUES ($1, $2, (SELECT COALESCE(MAX(sequence), 0) + 1 FROM tasks WHERE app = $2), $3, $4, 'PENDING', $5, $6, $7,
                 $8, $9, $10, $11, $12, $12)
             RETURNING *",
        )
        .bind(new.id.to_string())
        .bind(new.app.to_string())
        .bind(&new.name)
        .bind(self.seal.seal(COMMAND, &new.command)?)
        .bind(new.droplet.to_string())
        .bind(&new.stack.0)
        .bind(self.seal.seal(PLAN, &new.plan)?)
        .bind(i64::from(new.limits.memory.0))
        .bind(i64::from(new.limits.disk.0))
        .bind(to_json(&new.metadata))
        .bind(&new.created_by)
        .bind(now_us())
        .fetch_one(&mut *tx)
        .await
        .tried("insert a task")?;
        tx.commit().await.tried("commit a task")?;
        self.task(&row).map(Some)
    }

    pub async fn find_task(&self, id: TaskId) -> Result<Option<Task>> {
        let row = sqlx::query("SELECT * FROM tasks WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a task")?;
        row.as_ref().map(|row| self.task(row)).transpose()
    }

    /// What a task's container is made from; none once the task has ended.
    pub async fn find_task_plan(&self, id: TaskId) -> Result<Option<TaskPlan>> {
        let plan: Option<Option<Vec<u8>>> =
            sqlx::query_scalar("SELECT plan FROM tasks WHERE guid = $1")
                .bind(id.to_string())
                .fetch_optional(&self.reader)
                .await
                .tried("find a task's plan")?;
        plan.flatten()
            .map(|sealed| self.seal.open(PLAN, &sealed))
            .transpose()
    }

    pub async fn list_tasks(&self, filter: &TaskFilter, page: PageRequest) -> Result<Page<Task>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
            "SELECT *, COUNT(*) OVER () AS total FROM tasks
             WHERE ($1 IS NULL OR guid IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR name IN (SELECT value FROM json_each($2)))
               AND ($3 IS NULL OR state IN (SELECT value FROM json_each($3)))
               AND ($4 IS NULL OR CAST(sequence AS TEXT) IN (SELECT value FROM json_each($4)))
               AND ($5 IS NULL OR app IN (SELECT value FROM json_each($5)))
               AND ($6 IS NULL OR app IN (SELECT guid FROM apps WHERE space IN (SELECT value FROM json_each($6))))
               AND ($7 IS NULL OR app IN (SELECT apps.guid FROM apps JOIN spaces ON spaces.guid = apps.space
                                          WHERE spaces.org IN (SELECT value FROM json_each($7))))
             ORDER BY CASE WHEN $8 THEN updated_us ELSE created_us END * $9, sequence * $9, guid LIMIT $10 OFFSET $11",
        )
        .bind(list(&filter.guids))
        .bind(list(&filter.names))
        .bind(list(&filter.states))
        .bind(list(&filter.sequences))
        .bind(list(&filter.apps))
        .bind(list(&filter.spaces))
        .bind(list(&filter.orgs))
        .bind(filter.order.by_change)
        .bind(if filter.order.descending { -1 } else { 1 })
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(&self.reader)
        };
        paged(page, fetch, "list tasks", |row| self.task(row)).await
    }

    /// Tasks that have not ended, the oldest first.
    pub async fn list_open_tasks(&self) -> Result<Vec<Task>> {
        let found = sqlx::query(
            "SELECT * FROM tasks WHERE state IN ('PENDING', 'RUNNING', 'CANCELING') ORDER BY created_us, guid",
        )
        .fetch_all(&self.reader)
        .await
        .tried("list open tasks")?;
        found.iter().map(|row| self.task(row)).collect()
    }

    pub async fn update_task_metadata(&self, id: TaskId, metadata: &Metadata) -> Result<Task> {
        let row = sqlx::query(
            "UPDATE tasks SET metadata = $2, updated_us = $3 WHERE guid = $1 RETURNING *",
        )
        .bind(id.to_string())
        .bind(to_json(metadata))
        .bind(now_us())
        .fetch_optional(&self.writer)
        .await
        .tried("update a task")?;
        self.task(&row.ok_or(Error::Missing)?)
    }

    /// Notes where a task is about to be sent. Succeeds once: a task that was sent is never sent again. [`Error::Missing`]
    /// also where it was cancelled or deleted meanwhile.
    pub async fn place_task(&self, id: TaskId, placement: Placement) -> Result<()> {
        let done = sqlx::query(
            "UPDATE tasks SET placed_cell = $2, placed_incarnation = $3, placed_epoch = $4, updated_us = $5
             WHERE guid = $1 AND state = 'PENDING' AND placed_cell IS NULL",
        )
        .bind(id.to_string())
        .bind(placement.cell.to_string())
        .bind(placement.incarnation.to_string())
        .bind(i64::try_from(placement.epoch).unwrap_or(i64::MAX))
        .bind(now_us())
        .execute(&self.writer)
        .await
        .tried("place a task")?;
        if done.rows_affected() == 0 {
            Err(Error::Missing)
        } else {
            Ok(())
        }
    }

    /// Notes that a task's command has begun. Says whether that was news.
    pub async fn start_task(&self, id: TaskId, cell: CellId) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE tasks SET state = 'RUNNING', updated_us = $3
             WHERE guid = $1 AND state = 'PENDING' AND placed_cell = $2",
        )
        .bind(id.to_string())
        .bind(cell.to_string())
        .bind(now_us())
        .execute(&self.writer)
        .await
        .tried("start a task")?;
        Ok(done.rows_affected() > 0)
    }

    /// Takes a wish to end a task: one that was sent to no cell has failed for `reason` from here on, another one is being
    /// cancelled. [`Error::Missing`] where it has ended already.
    pub async fn cancel_task(&self, id: TaskId, reason: &str, keep: u32) -> Result<Task> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "UPDATE tasks SET state = CASE WHEN placed_cell IS NULL THEN 'FAILED' ELSE 'CANCELING' END,
                 failure = CASE WHEN placed_cell IS NULL THEN $2 ELSE NULL END,
                 plan = CASE WHEN placed_cell IS NULL THEN NULL ELSE plan END, updated_us = $3
             WHERE guid = $1 AND state IN ('PENDING', 'RUNNING', 'CANCELING') RETURNING *",
        )
        .bind(id.to_string())
        .bind(reason)
        .bind(now_us())
        .fetch_optional(&mut *tx)
        .await
        .tried("cancel a task")?;
        let task = self.task(&row.ok_or(Error::Missing)?)?;
        prune(&mut tx, task.app, keep).await?;
        tx.commit()
            .await
            .tried("commit the cancellation of a task")?;
        Ok(task)
    }

    /// Ends a task with `end`, and deletes finished tasks of its app beyond the newest `keep`. [`Error::Missing`] where it
    /// has ended before, or where the cell that tells of its end never had it.
    pub async fn finish_task(
        &self,
        id: TaskId,
        teller: TaskTeller,
        end: &TaskState,
        keep: u32,
    ) -> Result<FinishedTask> {
        let failure = match end {
            TaskState::Succeeded => None,
            TaskState::Failed { reason } => Some(reason),
            TaskState::Pending | TaskState::Running | TaskState::Canceling => {
                return Err(corrupt("an ended task that has not ended"));
            }
        };
        let cell = match teller {
            TaskTeller::Cell(cell) => Some(cell.to_string()),
            TaskTeller::Server => None,
        };
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "UPDATE tasks SET state = $2, failure = $3, plan = NULL, updated_us = $4
             WHERE guid = $1 AND state IN ('PENDING', 'RUNNING', 'CANCELING') AND ($5 IS NULL OR placed_cell = $5)
             RETURNING *",
        )
        .bind(id.to_string())
        .bind(end.name())
        .bind(failure)
        .bind(now_us())
        .bind(cell)
        .fetch_optional(&mut *tx)
        .await
        .tried("finish a task")?
        .ok_or(Error::Missing)?;
        let task = self.task(&row)?;
        let pruned = prune(&mut tx, task.app, keep).await?;
        tx.commit().await.tried("commit the end of a task")?;
        Ok(FinishedTask { task, pruned })
    }
}

/// Deletes finished tasks of an app beyond the newest `keep`, and says how many. One stays in any case, so that no number
/// is given twice.
async fn prune(tx: &mut Transaction<'static, Sqlite>, app: AppId, keep: u32) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM tasks WHERE guid IN (
             SELECT guid FROM tasks WHERE app = $1 AND state IN ('SUCCEEDED', 'FAILED')
             ORDER BY sequence DESC LIMIT -1 OFFSET $2)",
    )
    .bind(app.to_string())
    .bind(i64::from(keep.max(1)))
    .execute(&mut **tx)
    .await
    .tried("delete old tasks")?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests;
