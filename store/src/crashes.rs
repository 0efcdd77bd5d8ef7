//! Crash counts: the one thing about running instances that has to outlive a server, since back-off is built on it.

use model::ids::ProcessId;
use sqlx::sqlite::SqliteRow;

use crate::Store;
use crate::error::{Error, Result, Tried};
use crate::records::{CrashCount, Event};
use crate::rows;

impl Store {
    /// Writes down a crash: its audit event, whose id is the instance's, and the count that it led to. Both at once, so that
    /// a crash that was noted is known to be counted. A crash that was noted before, or of a process that is not desired
    /// any more, changes no count.
    pub async fn note_crash(&self, event: &Event, count: Option<&CrashCount>) -> Result<()> {
        let mut tx = self.begin().await?;
        match crate::events::insert_in(&mut *tx, &self.seal, event).await {
            Ok(()) => {}
            Err(Error::Conflict(_)) => return Ok(()),
            Err(other) => return Err(other),
        }
        if let Some(count) = count {
            sqlx::query(
                "INSERT INTO crash_counts (process, instance_index, version, instance, crash_count, at_us, exit)
                 SELECT $1, $2, $3, $4, $5, $6, $7
                 WHERE EXISTS (SELECT 1 FROM desired_lrps WHERE process = $1)
                 ON CONFLICT (process, instance_index) DO UPDATE
                 SET version = $3, instance = $4, crash_count = $5, at_us = $6, exit = $7",
            )
            .bind(count.process.to_string())
            .bind(i64::from(count.index))
            .bind(count.version.to_string())
            .bind(count.instance.to_string())
            .bind(i64::from(count.count))
            .bind(count.at_us)
            .bind(self.seal().seal("crash_counts.exit", &count.exit)?)
            .execute(&mut *tx)
            .await
            .tried("write a crash count")?;
        }
        tx.commit().await.tried("commit a crash")
    }

    /// Somebody asked for a fresh start of an index.
    pub async fn forgive_crashes(&self, process: ProcessId, index: u32) -> Result<()> {
        sqlx::query("DELETE FROM crash_counts WHERE process = $1 AND instance_index = $2")
            .bind(process.to_string())
            .bind(i64::from(index))
            .execute(&self.writer)
            .await
            .tried("forgive crashes")?;
        Ok(())
    }

    /// The counts of processes that are desired now, also of releases of them that are not.
    pub async fn list_crash_counts(&self) -> Result<Vec<CrashCount>> {
        let found = sqlx::query("SELECT * FROM crash_counts ORDER BY process, instance_index")
            .fetch_all(&self.reader)
            .await
            .tried("list crash counts")?;
        found.iter().map(|row| self.crash_count(row)).collect()
    }

    fn crash_count(&self, row: &SqliteRow) -> Result<CrashCount> {
        Ok(CrashCount {
            process: rows::parsed(row, "process")?,
            version: rows::parsed(row, "version")?,
            index: rows::number(row, "instance_index")?,
            instance: rows::parsed(row, "instance")?,
            count: rows::number(row, "crash_count")?,
            at_us: rows::big(row, "at_us")?,
            exit: self
                .seal()
                .open("crash_counts.exit", &rows::bytes(row, "exit")?)?,
        })
    }
}
