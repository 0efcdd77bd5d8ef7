//! Jobs: what a client may poll after an answer of 202.

use model::ids::JobId;
use sqlx::sqlite::SqliteRow;

use crate::error::{Result, Tried};
use crate::records::{Job, JobState};
use crate::rows::{self, corrupt, to_json};
use crate::{Store, now_us};

/// Ended jobs are kept this long; clients poll for seconds.
const KEPT_US: i64 = 24 * 3600 * 1_000_000;

fn job(row: &SqliteRow) -> Result<Job> {
    Ok(Job {
        id: rows::parsed(row, "guid")?,
        operation: rows::text(row, "operation")?,
        state: match rows::text(row, "state")?.as_str() {
            "PROCESSING" => JobState::Processing,
            "COMPLETE" => JobState::Complete,
            "FAILED" => JobState::Failed {
                errors: rows::json(row, "errors")?,
            },
            _ => return Err(corrupt("jobs.state")),
        },
        warnings: rows::json(row, "warnings")?,
        created_us: rows::big(row, "created_us")?,
        updated_us: rows::big(row, "updated_us")?,
    })
}

impl Store {
    pub async fn insert_job(
        &self,
        operation: &str,
        state: JobState,
        warnings: Vec<String>,
    ) -> Result<Job> {
        let now = now_us();
        let new = Job {
            id: JobId::random(),
            operation: operation.to_owned(),
            state,
            warnings,
            created_us: now,
            updated_us: now,
        };
        let (state, errors) = match &new.state {
            JobState::Processing => ("PROCESSING", "[]".to_owned()),
            JobState::Complete => ("COMPLETE", "[]".to_owned()),
            JobState::Failed { errors } => ("FAILED", to_json(errors)),
        };
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM jobs WHERE state <> 'PROCESSING' AND updated_us < $1")
            .bind(now - KEPT_US)
            .execute(&mut *tx)
            .await
            .tried("delete old jobs")?;
        sqlx::query(
            "INSERT INTO jobs (guid, operation, state, errors, warnings, created_us, updated_us)
             VALUES ($1, $2, $3, $4, $5, $6, $6)",
        )
        .bind(new.id.to_string())
        .bind(&new.operation)
        .bind(state)
        .bind(errors)
        .bind(to_json(&new.warnings))
        .bind(now)
        .execute(&mut *tx)
        .await
        .tried("insert a job")?;
        tx.commit().await.tried("commit a job")?;
        Ok(new)
    }

    pub async fn find_job(&self, id: JobId) -> Result<Option<Job>> {
        let row = sqlx::query("SELECT * FROM jobs WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a job")?;
        row.as_ref().map(job).transpose()
    }
}
