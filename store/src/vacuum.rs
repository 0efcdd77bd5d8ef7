//! Giving the space of deleted rows back to the disk.

use sqlx::sqlite::SqlitePool;
use sqlx::{Executor as _, Row as _};

use crate::Store;
use crate::error::{Result, Tried};

/// SQLite's number of the incremental mode.
const INCREMENTAL: i64 = 2;

/// Brings a database that was made without it to incremental vacuum. This rewrites the database once.
pub(crate) async fn enable(writer: &SqlitePool) -> Result<()> {
    let mode: i64 = sqlx::query_scalar("PRAGMA auto_vacuum")
        .fetch_one(writer)
        .await
        .tried("read the vacuum mode")?;
    if mode == INCREMENTAL {
        return Ok(());
    }
    // Each connection asks for the mode when it opens; the database takes it over when it is rewritten.
    let done = writer.execute("VACUUM").await;
    match done.tried("rewrite the database") {
        Ok(_) => Ok(()),
        // It goes on as it is, only larger than it need be.
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the database was not rewritten; deletions do not make it smaller"
            );
            Ok(())
        }
    }
}

impl Store {
    /// Free pages that one call gives back; a writer waits for it.
    const PAGES: u32 = 2_000;

    /// Gives some unused pages back to the disk and cuts the write-ahead log. Says whether there is more to give back.
    pub async fn vacuum(&self) -> Result<bool> {
        // The pragma gives back a page a step, so that it has to be read to its end.
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "PRAGMA incremental_vacuum({})",
            Self::PAGES
        )))
        .fetch_all(&self.writer)
        .await
        .tried("give unused pages back")?;
        let free: i64 = sqlx::query_scalar("PRAGMA freelist_count")
            .fetch_one(&self.writer)
            .await
            .tried("count unused pages")?;
        // Readers may still need the log; then it is cut the next time.
        let log = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.writer)
            .await
            .tried("cut the write-ahead log")?;
        let blocked = log.try_get::<i64, _>(0).unwrap_or(1) != 0;
        if blocked {
            tracing::debug!("the write-ahead log is in use and was not cut");
        }
        Ok(free > 0)
    }
}
