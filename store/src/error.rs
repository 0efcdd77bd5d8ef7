//! What can go wrong with the truth.

/// An error of the store. Its cause is in `source()`, never in the text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A constraint of the schema refused the write; the constraint's columns are named, as `table.column`.
    #[error("conflict on {0}")]
    Conflict(String),
    /// Something that the row refers to was deleted meanwhile, or other rows still refer to it.
    #[error("a reference would lead nowhere: {tried}")]
    Reference { tried: &'static str },
    /// The row to change does not exist, or is not in the state that the change needs.
    #[error("the record is not there any more")]
    Missing,
    /// The disk has no room for it; nothing was changed.
    #[error("the disk is full: {tried}")]
    Full {
        tried: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database was in use for longer than anybody waits; nothing was changed.
    #[error("the database is busy: {tried}")]
    Busy {
        tried: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("database: {tried}")]
    Database {
        tried: &'static str,
        #[source]
        source: sqlx::Error,
    },
    #[error("a stored record is not readable: {what}")]
    Corrupt { what: String },
    #[error("migrating the database failed")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("{tried}")]
    Io {
        tried: String,
        #[source]
        source: std::io::Error,
    },
    #[error("blob store: {tried}")]
    Blob {
        tried: String,
        #[source]
        source: object_store::Error,
    },
    #[error("another process uses this data folder: {0}")]
    Locked(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn io(tried: String, source: std::io::Error) -> Self {
        if is_full(&source) {
            let source = Box::new(source);
            Self::Full { tried, source }
        } else {
            Self::Io { tried, source }
        }
    }

    pub(crate) fn blob(tried: String, source: object_store::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&source);
        while let Some(error) = cause {
            if error.downcast_ref::<std::io::Error>().is_some_and(is_full) {
                let source = Box::new(source);
                return Self::Full { tried, source };
            }
            cause = error.source();
        }
        Self::Blob { tried, source }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}

/// SQLite's result codes, of which the lower byte is the primary one (sqlite.org/rescode.html).
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const FULL: i32 = 13;
    /// The shared-memory file beside the log could not grow.
    pub(super) const IOERR_SHMSIZE: i32 = 4874;
}

pub(crate) trait Tried<T> {
    /// Names what was tried, turns a violated constraint into [`Error::Conflict`], and tells a full disk and a busy
    /// database from other failures.
    fn tried(self, tried: &'static str) -> Result<T>;
}

impl<T> Tried<T> for std::result::Result<T, sqlx::Error> {
    fn tried(self, tried: &'static str) -> Result<T> {
        self.map_err(|source| match &source {
            sqlx::Error::Database(database) if database.is_unique_violation() => {
                let message = database.message();
                Error::Conflict(
                    message
                        .rsplit("failed: ")
                        .next()
                        .unwrap_or(message)
                        .to_owned(),
                )
            }
            sqlx::Error::Database(database) if database.is_foreign_key_violation() => {
                Error::Reference { tried }
            }
            sqlx::Error::Database(database) => {
                let code = database.code().and_then(|code| code.parse::<i32>().ok());
                let primary = code.map(|code| code & 0xff);
                if primary == Some(code::FULL) || code == Some(code::IOERR_SHMSIZE) {
                    let (tried, source) = (tried.to_owned(), Box::new(source));
                    Error::Full { tried, source }
                } else if matches!(primary, Some(code::BUSY | code::LOCKED)) {
                    Error::Busy { tried, source }
                } else {
                    Error::Database { tried, source }
                }
            }
            sqlx::Error::PoolTimedOut => Error::Busy { tried, source },
            sqlx::Error::RowNotFound => Error::Missing,
            _ => Error::Database { tried, source },
        })
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, Executor as _};

    use super::*;
    use crate::Store;

    #[tokio::test]
    async fn a_full_disk_and_a_busy_database_are_told_apart_from_faults_and_pass_again() {
        let data = tempfile::tempdir().expect("a folder");
        let store = Store::open(data.path()).await.expect("opens");
        // SQLite answers as on a full disk.
        let limit = |pages: &'static str| store.writer.execute(pages);
        limit("PRAGMA max_page_count = 1").await.expect("limits");
        let large = "x".repeat(1_000_000);
        let full = store.put_setting("name", &large).await;
        assert!(matches!(full, Err(Error::Full { .. })), "{full:?}");
        limit("PRAGMA max_page_count = 1000000")
            .await
            .expect("limits");
        store.put_setting("name", &large).await.expect("fits now");

        let path = data.path().join("slipway.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut other = sqlx::SqliteConnection::connect_with(&options)
            .await
            .expect("opens");
        other.execute("BEGIN IMMEDIATE").await.expect("begins");
        let timeout = store.writer.execute("PRAGMA busy_timeout = 1").await;
        timeout.expect("sets");
        let busy = store.put_setting("name", "value").await;
        assert!(matches!(busy, Err(Error::Busy { .. })), "{busy:?}");
        other.execute("ROLLBACK").await.expect("ends");
        store.put_setting("name", "value").await.expect("free now");
    }

    #[test]
    fn a_blob_that_does_not_fit_is_a_full_disk() {
        let cause = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let source = object_store::Error::Generic {
            store: "local",
            source: Box::new(cause),
        };
        let error = Error::blob("write layers/x".to_owned(), source);
        assert!(matches!(error, Error::Full { .. }), "{error:?}");
    }
}
