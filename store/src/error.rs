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

pub(crate) trait Tried<T> {
    /// Names what was tried, and turns a violated constraint into [`Error::Conflict`].
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
            sqlx::Error::RowNotFound => Error::Missing,
            _ => Error::Database { tried, source },
        })
    }
}
