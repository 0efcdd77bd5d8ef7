//! Opening the database: one writer, many readers, migrations applied, one process at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

use crate::blobs::Blobs;
use crate::error::{Error, Result, Tried};
use crate::seal::Seal;

/// Now, in microseconds since the Unix epoch.
#[must_use]
pub fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

/// The one door to the truth. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    /// SQLite has one writer; more connections would only wait for each other.
    pub(crate) writer: SqlitePool,
    pub(crate) reader: SqlitePool,
    pub(crate) seal: Seal,
    blobs: Blobs,
    pub(crate) folder: PathBuf,
    _lock: std::sync::Arc<File>,
}

impl Store {
    const READERS: u32 = 4;
    const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
    /// The write-ahead log is cut back to this when it was copied into the database.
    const MAX_LOG_BYTES: u64 = 4 * 1024 * 1024;

    /// Opens, creates and migrates what lies in `folder`. Fails with [`Error::Locked`] while another process has it open.
    pub async fn open(folder: &Path) -> Result<Self> {
        let io = |tried: String| move |source| Error::io(tried, source);
        std::fs::create_dir_all(folder)
            .map_err(io(format!("create the folder {}", folder.display())))?;
        let lock_path = folder.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io(format!("open {}", lock_path.display())))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::Locked(folder.display().to_string()));
            }
            Err(std::fs::TryLockError::Error(source)) => {
                return Err(io(format!("lock {}", lock_path.display()))(source));
            }
        }
        let seal = Seal::load_or_create(&folder.join("secret.key"))?;
        let options = SqliteConnectOptions::new()
            .filename(folder.join("slipway.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged write survives also a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // What is deleted can be given back to the disk bit by bit, and the log does not stay as long as it once was.
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .pragma("journal_size_limit", Self::MAX_LOG_BYTES.to_string())
            .busy_timeout(Self::BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .tried("open the database for writing")?;
        sqlx::migrate!("./migrations")
            .run(&writer)
            .await
            .map_err(Error::Migrate)?;
        crate::vacuum::enable(&writer).await?;
        let reader = SqlitePoolOptions::new()
            .max_connections(Self::READERS)
            .connect_with(options)
            .await
            .tried("open the database for reading")?;
        let blobs = Blobs::open(&folder.join("blobs"))?;
        Ok(Self {
            writer,
            reader,
            seal,
            blobs,
            folder: folder.to_owned(),
            _lock: std::sync::Arc::new(lock),
        })
    }

    #[must_use]
    pub const fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    #[must_use]
    pub const fn seal(&self) -> &Seal {
        &self.seal
    }

    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        self.writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .tried("begin a transaction")
    }

    /// A named value of the installation, such as the first admin's id.
    pub async fn setting(&self, name: &str) -> Result<Option<String>> {
        sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.reader)
            .await
            .tried("read a setting")
    }

    pub async fn put_setting(&self, name: &str, value: &str) -> Result<()> {
        sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2")
            .bind(name)
            .bind(value)
            .execute(&self.writer)
            .await
            .tried("write a setting")?;
        Ok(())
    }

    /// Takes the next epoch; whoever holds a lower one is obeyed no more.
    pub async fn next_epoch(&self) -> Result<u64> {
        let mut tx = self.begin().await?;
        let last: Option<String> =
            sqlx::query_scalar("SELECT value FROM settings WHERE name = 'epoch'")
                .fetch_optional(&mut *tx)
                .await
                .tried("read the epoch")?;
        let next = last.and_then(|last| last.parse::<u64>().ok()).unwrap_or(0) + 1;
        sqlx::query("INSERT INTO settings (name, value) VALUES ('epoch', $1) ON CONFLICT (name) DO UPDATE SET value = $1")
            .bind(next.to_string())
            .execute(&mut *tx)
            .await
            .tried("write the epoch")?;
        tx.commit().await.tried("commit the epoch")?;
        Ok(next)
    }
}
