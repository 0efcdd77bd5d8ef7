//! What is not needed any more: rows first, and then the blobs that no row names.
//!
//! Of each app stay: what is desired, what a deployment under way would go back to, its current droplet, its last
//! [`Rules::releases`] releases with their droplets, and droplets that are still to be released. Each app is one
//! transaction whose statements carry these conditions themselves, so nothing that is asked for at the same moment can be
//! lost: either it comes first and is kept, or it comes later and is told that the droplet is gone. A crash leaves at most
//! blobs that no row names, which a later sweep finds.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use model::digest::Digest;
use model::ids::AppId;
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use crate::Store;
use crate::blobs::sweep::{BlobKind, Swept};
use crate::error::{Result, Tried};
use crate::rows::{self, to_json};

mod history;
mod packages;
mod usage;

pub use usage::{AppUsage, Usage};

/// How much is kept. Counts are per app, times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub releases: u32,
    /// Droplets that were never released: somebody may still make them current.
    pub waiting_droplets: u32,
    pub builds: u32,
    pub deployments: u32,
    pub packages: u32,
    pub events: u32,
    /// Bytes of all packages together. The newest of each app and its current droplet's stay also beyond.
    pub package_bytes: u64,
    /// For so long a client may rely on a file that it was told of, or on a package that it has just uploaded.
    pub lease_us: i64,
    /// A package that is awaited or failed goes after this.
    pub unfinished_us: i64,
    pub event_age_us: i64,
    /// Of all apps and things together.
    pub all_events: u32,
}

impl Rules {
    pub const DEFAULT: Self = Self {
        releases: 5,
        waiting_droplets: 5,
        builds: 20,
        deployments: 10,
        packages: 20,
        events: 1_000,
        package_bytes: 2 * 1024 * 1024 * 1024,
        lease_us: 3_600 * 1_000_000,
        unfinished_us: 24 * 3_600 * 1_000_000,
        event_age_us: 90 * 24 * 3_600 * 1_000_000,
        all_events: 200_000,
    };
}

/// Rows that one statement deletes at most; the rest follows in the next round.
const BATCH: i64 = 200;
/// Blobs that are looked at together.
const SWEEP_BATCH: usize = 500;
/// How far the host's clock may be set back while a build is under way.
const CLOCK_SLACK_US: i64 = 300 * 1_000_000;

/// How many rows went, and which blobs may go now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    pub releases: u64,
    pub droplets: u64,
    pub packages: u64,
    pub builds: u64,
    pub deployments: u64,
    pub events: u64,
    pub freed: Freed,
}

impl Collected {
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.releases + self.droplets + self.packages + self.builds + self.deployments + self.events
    }

    pub fn add(&mut self, other: Self) {
        self.releases += other.releases;
        self.droplets += other.droplets;
        self.packages += other.packages;
        self.builds += other.builds;
        self.deployments += other.deployments;
        self.events += other.events;
        self.freed.add(other.freed);
    }
}

/// Blobs whose last row may have gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freed {
    pub layers: BTreeSet<Digest>,
    pub packages: BTreeSet<Digest>,
}

impl Freed {
    pub fn add(&mut self, other: Self) {
        self.layers.extend(other.layers);
        self.packages.extend(other.packages);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.layers.len() + self.packages.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) async fn of_app(tx: &mut Transaction<'static, Sqlite>, app: AppId) -> Result<Self> {
        let layers = sqlx::query(
            "SELECT DISTINCT digest FROM droplet_layers WHERE droplet IN (SELECT guid FROM droplets WHERE app = $1)",
        )
        .bind(app.to_string())
        .fetch_all(&mut **tx)
        .await
        .tried("list an app's layers")?;
        let packages = sqlx::query(
            "SELECT DISTINCT digest FROM packages WHERE app = $1 AND digest IS NOT NULL",
        )
        .bind(app.to_string())
        .fetch_all(&mut **tx)
        .await
        .tried("list an app's packages")?;
        Ok(Self {
            layers: digests(&layers)?,
            packages: digests(&packages)?,
        })
    }
}

fn digests(found: &[SqliteRow]) -> Result<BTreeSet<Digest>> {
    found
        .iter()
        .map(|row| rows::parsed(row, "digest"))
        .collect()
}

/// What is only tried is taken back.
async fn end(tx: Transaction<'static, Sqlite>, dry: bool) -> Result<()> {
    if dry {
        tx.rollback().await.tried("leave everything as it was")
    } else {
        tx.commit().await.tried("commit a collection")
    }
}

impl Store {
    /// Ids of apps in their order, beginning after `after`.
    pub async fn apps_after(&self, after: Option<AppId>, limit: u32) -> Result<Vec<AppId>> {
        let found = sqlx::query(
            "SELECT guid FROM apps WHERE ($1 IS NULL OR guid > $1) ORDER BY guid LIMIT $2",
        )
        .bind(after.map(|app| app.to_string()))
        .bind(i64::from(limit))
        .fetch_all(&self.reader)
        .await
        .tried("list apps to collect")?;
        found.iter().map(|row| rows::parsed(row, "guid")).collect()
    }

    /// Deletes what an app does not need any more. With `dry` it says what would go, and nothing goes.
    pub async fn collect_app(
        &self,
        app: AppId,
        rules: &Rules,
        now: i64,
        dry: bool,
    ) -> Result<Collected> {
        let mut tx = self.begin().await?;
        let mut collected = Collected {
            releases: history::releases(&mut tx, app, rules).await?,
            ..Collected::default()
        };
        let (droplets, layers) = history::droplets(&mut tx, app, rules).await?;
        collected.droplets = droplets;
        collected.freed.layers = layers;
        collected.builds = history::builds(&mut tx, app, rules).await?;
        collected.deployments = history::deployments(&mut tx, app, rules).await?;
        collected.events = history::events(&mut tx, app, rules).await?;
        let (packages, freed) = packages::of_app(&mut tx, app, rules, now).await?;
        collected.packages = packages;
        collected.freed.packages = freed;
        end(tx, dry).await?;
        Ok(collected)
    }

    /// Deletes old events, and all beyond the most that are kept, a batch at a time.
    pub async fn collect_events(&self, rules: &Rules, now: i64, dry: bool) -> Result<Collected> {
        let mut tx = self.begin().await?;
        let events = history::old_events(&mut tx, rules, now).await?;
        end(tx, dry).await?;
        Ok(Collected {
            events,
            ..Collected::default()
        })
    }

    /// Those of `digests` that no row names.
    async fn unnamed(&self, kind: BlobKind, digests: &[Digest]) -> Result<Vec<Digest>> {
        let sql = match kind {
            BlobKind::Layer => {
                "SELECT value AS digest FROM json_each($1)
                 WHERE NOT EXISTS (SELECT 1 FROM droplet_layers WHERE digest = value)"
            }
            BlobKind::Package => {
                "SELECT value AS digest FROM json_each($1)
                 WHERE NOT EXISTS (SELECT 1 FROM packages WHERE digest = value)"
            }
        };
        let texts = digests.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = sqlx::query(sql)
            .bind(to_json(&texts))
            .fetch_all(&self.reader)
            .await
            .tried("look for unneeded blobs")?;
        found
            .iter()
            .map(|row| rows::parsed(row, "digest"))
            .collect()
    }

    /// Removes the blobs of these digests that no row names and nobody is about to name. `now` has to be read before;
    /// blobs younger than `grace_us` stay. With `dry` (where rows are still there that would go) nothing is removed.
    pub async fn sweep(
        &self,
        kind: BlobKind,
        digests: &[Digest],
        now: i64,
        grace_us: i64,
        dry: bool,
    ) -> Result<Swept> {
        let mut swept = Swept::default();
        if digests.is_empty() {
            return Ok(swept);
        }
        // In this order: whatever is held, claimed or staged later than this is younger than `before`.
        let before = self.settled_before(now, grace_us).await?;
        for batch in digests.chunks(SWEEP_BATCH) {
            let unheld = self.blobs().unheld(kind, batch);
            let doomed = if dry {
                unheld
            } else {
                self.unnamed(kind, &unheld).await?
            };
            let names = doomed.iter().map(|digest| kind.blob(digest)).collect();
            swept += self.blobs().sweep(names, before, dry).await?;
        }
        Ok(swept)
    }

    /// Looks through all blobs of a kind for those that no row names, of which crashes leave some, and removes them.
    pub async fn sweep_all(
        &self,
        kind: BlobKind,
        now: i64,
        grace_us: i64,
        dry: bool,
    ) -> Result<Swept> {
        let before = self.settled_before(now, grace_us).await?;
        let mut swept = Swept::default();
        // A part at a time, so that memory does not grow with their number.
        for digit in "0123456789abcdef".chars() {
            let old = self.blobs().older_than(kind, digit, before).await?;
            for batch in old.chunks(SWEEP_BATCH) {
                let unnamed = self.unnamed(kind, batch).await?;
                swept += self.sweep(kind, &unnamed, now, grace_us, dry).await?;
            }
        }
        Ok(swept)
    }

    /// Blobs written or claimed before this belong to no build under way and are older than `grace_us`.
    async fn settled_before(&self, now: i64, grace_us: i64) -> Result<SystemTime> {
        let oldest = self.oldest_staging_us().await?;
        let before = oldest.map_or(now, |oldest| now.min(oldest - CLOCK_SLACK_US));
        let before = u64::try_from(before.min(now - grace_us)).unwrap_or(0);
        Ok(SystemTime::UNIX_EPOCH + Duration::from_micros(before))
    }

    /// When the oldest build under way was asked for: what was written or claimed since then may be its layers.
    async fn oldest_staging_us(&self) -> Result<Option<i64>> {
        sqlx::query_scalar("SELECT MIN(created_us) FROM builds WHERE state = 'STAGING'")
            .fetch_one(&self.writer)
            .await
            .tried("find the oldest build under way")
    }
}
