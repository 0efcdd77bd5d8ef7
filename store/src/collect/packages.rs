//! Packages beyond the budget. They serve restages, builds, and the matching of files that need not be sent again.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use model::digest::Digest;
use model::ids::AppId;
use sqlx::{Row as _, Sqlite, Transaction};

use super::{BATCH, Collected, Rules, digests, end};
use crate::Store;
use crate::error::{Result, Tried};
use crate::rows::{self, to_json};

/// Packages that are ready and that nothing keeps, whatever the budget says: not the current droplet's, not the newest of
/// its app, not one that is being built or that a client relies on. `$2` is the time before which nobody relies on them
/// any more.
macro_rules! unpinned {
    () => {
        "packages.state = 'READY'
           AND packages.matched_us < $2 AND packages.updated_us < $2
           AND NOT EXISTS (
               SELECT 1 FROM apps JOIN droplets ON droplets.guid = apps.current_droplet
               WHERE apps.guid = packages.app AND droplets.package = packages.guid)
           AND packages.guid <> (
               SELECT newest.guid FROM packages AS newest
               WHERE newest.app = packages.app AND newest.state = 'READY'
               ORDER BY newest.created_us DESC, newest.guid LIMIT 1)
           AND NOT EXISTS (SELECT 1 FROM builds WHERE builds.package = packages.guid AND builds.state = 'STAGING')"
    };
}

/// Deletes an app's packages that never came or were refused, and those beyond the newest few.
pub(super) async fn of_app(
    tx: &mut Transaction<'static, Sqlite>,
    app: AppId,
    rules: &Rules,
    now: i64,
) -> Result<(u64, BTreeSet<Digest>)> {
    let unfinished = sqlx::query(
        "DELETE FROM packages WHERE guid IN (
             SELECT guid FROM packages WHERE app = $1 AND state <> 'READY' AND updated_us < $2 LIMIT $3)",
    )
    .bind(app.to_string())
    .bind(now - rules.unfinished_us)
    .bind(BATCH)
    .execute(&mut **tx)
    .await
    .tried("delete unfinished packages")?;
    let found = sqlx::query(concat!(
        "SELECT guid FROM packages WHERE app = $1 AND ",
        unpinned!(),
        " AND guid NOT IN (
              SELECT guid FROM packages WHERE app = $1 AND state = 'READY' ORDER BY created_us DESC, guid LIMIT $3)
          ORDER BY created_us LIMIT $4",
    ))
    .bind(app.to_string())
    .bind(now - rules.lease_us)
    .bind(i64::from(rules.packages))
    .bind(BATCH)
        .fetch_all(&mut **tx)
        .await
        .tried("find an app's old packages")?;
    let guids = found
        .iter()
        .map(|row| rows::text(row, "guid"))
        .collect::<Result<Vec<_>>>()?;
    let (packages, freed) = delete(tx, &guids).await?;
    Ok((packages + unfinished.rows_affected(), freed))
}

/// Deletes packages with the notes of their files where no other package has the same bytes. Their ended builds go too.
async fn delete(
    tx: &mut Transaction<'static, Sqlite>,
    guids: &[String],
) -> Result<(u64, BTreeSet<Digest>)> {
    if guids.is_empty() {
        return Ok((0, BTreeSet::new()));
    }
    let guids = to_json(&guids);
    let found = sqlx::query(
        "SELECT DISTINCT digest FROM packages AS gone WHERE guid IN (SELECT value FROM json_each($1))
           AND NOT EXISTS (
               SELECT 1 FROM packages AS kept
               WHERE kept.digest = gone.digest AND kept.guid NOT IN (SELECT value FROM json_each($1)))",
    )
    .bind(&guids)
    .fetch_all(&mut **tx)
    .await
    .tried("find unneeded package blobs")?;
    let freed = digests(&found)?;
    let texts = freed.iter().map(ToString::to_string).collect::<Vec<_>>();
    sqlx::query("DELETE FROM resources WHERE package_digest IN (SELECT value FROM json_each($1))")
        .bind(to_json(&texts))
        .execute(&mut **tx)
        .await
        .tried("forget a package's files")?;
    let done = sqlx::query("DELETE FROM packages WHERE guid IN (SELECT value FROM json_each($1))")
        .bind(&guids)
        .execute(&mut **tx)
        .await
        .tried("delete packages")?;
    Ok((done.rows_affected(), freed))
}

impl Store {
    /// Deletes packages until all together have at most `budget` bytes, those first that were longest of no use. Some stay
    /// beyond it, see [`Rules::package_bytes`].
    pub async fn collect_packages(
        &self,
        rules: &Rules,
        budget: u64,
        now: i64,
        dry: bool,
    ) -> Result<Collected> {
        let doomed = self.beyond(budget).await?;
        let mut collected = Collected::default();
        if doomed.is_empty() {
            return Ok(collected);
        }
        let mut tx = self.begin().await?;
        let texts = doomed.iter().map(ToString::to_string).collect::<Vec<_>>();
        // What was matched, built or made current since the look stays.
        let found = sqlx::query(concat!(
            "SELECT guid FROM packages WHERE digest IN (SELECT value FROM json_each($1)) AND ",
            unpinned!(),
            " ORDER BY MAX(matched_us, updated_us) LIMIT $3",
        ))
        .bind(to_json(&texts))
        .bind(now - rules.lease_us)
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await
        .tried("find packages beyond the budget")?;
        let guids = found
            .iter()
            .map(|row| rows::text(row, "guid"))
            .collect::<Result<Vec<_>>>()?;
        (collected.packages, collected.freed.packages) = delete(&mut tx, &guids).await?;
        end(tx, dry).await?;
        Ok(collected)
    }

    /// Digests of the packages that come after the first `budget` bytes, newest use first. Read row by row, so that their
    /// number does not matter.
    async fn beyond(&self, budget: u64) -> Result<Vec<Digest>> {
        const MOST: usize = 1_000;
        let mut found = sqlx::query(
            "SELECT digest, MAX(size) AS size, MAX(MAX(matched_us, updated_us)) AS used FROM packages
             WHERE state = 'READY' GROUP BY digest ORDER BY used DESC, digest",
        )
        .fetch(&self.reader);
        let (mut bytes, mut beyond) = (0_u64, std::collections::VecDeque::new());
        while let Some(row) = found.try_next().await.tried("add packages up")? {
            let size = row.try_get::<i64, _>("size").tried("add packages up")?;
            bytes = bytes.saturating_add(u64::try_from(size).unwrap_or(0));
            if bytes > budget {
                // The longest unused are the last.
                beyond.push_back(rows::parsed(&row, "digest")?);
                if beyond.len() > MOST {
                    beyond.pop_front();
                }
            }
        }
        Ok(beyond.into())
    }
}
