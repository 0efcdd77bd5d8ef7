//! Releases, droplets, builds, deployments and events of one app that are too many.

use std::collections::BTreeSet;

use model::digest::Digest;
use model::ids::AppId;
use sqlx::{Row as _, Sqlite, Transaction};

use super::{BATCH, Rules, digests};
use crate::error::{Result, Tried};
use crate::rows::to_json;

/// Older releases than the last few, but for those that run or that a deployment needs.
pub(super) async fn releases(
    tx: &mut Transaction<'static, Sqlite>,
    app: AppId,
    rules: &Rules,
) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM revisions WHERE guid IN (
             SELECT guid FROM revisions
             WHERE app = $1
               AND version <= (SELECT version FROM revisions WHERE app = $1 ORDER BY version DESC LIMIT 1 OFFSET $2)
               AND version NOT IN (SELECT revision FROM desired_lrps WHERE app = $1)
               AND version NOT IN (
                   SELECT revision FROM deployments
                   WHERE app = $1 AND state = 'ACTIVE')
               AND version NOT IN (
                   SELECT previous_revision FROM deployments
                   WHERE app = $1 AND state = 'ACTIVE')
             ORDER BY version LIMIT $3)",
    )
    .bind(app.to_string())
    .bind(i64::from(rules.releases))
    .bind(BATCH)
    .execute(&mut **tx)
    .await
    .tried("delete old releases")?;
    Ok(done.rows_affected())
}

/// Droplets that no release names. Returns the layers that no droplet has any more, too.
pub(super) async fn droplets(
    tx: &mut Transaction<'static, Sqlite>,
    app: AppId,
    rules: &Rules,
) -> Result<(u64, BTreeSet<Digest>)> {
    let found = sqlx::query(
        "SELECT guid FROM droplets
         WHERE app = $1
           AND guid NOT IN (SELECT current_droplet FROM apps WHERE guid = $1 AND current_droplet IS NOT NULL)
           AND guid NOT IN (SELECT droplet FROM revisions WHERE app = $1)
           AND guid NOT IN (
               SELECT droplet FROM tasks WHERE app = $1 AND state IN ('PENDING', 'RUNNING', 'CANCELING'))
           AND guid NOT IN (
               SELECT droplet FROM deployments WHERE app = $1 AND state = 'ACTIVE'
               UNION SELECT previous_droplet FROM deployments
               WHERE app = $1 AND state = 'ACTIVE' AND previous_droplet IS NOT NULL)
           AND guid NOT IN (
               SELECT guid FROM droplets WHERE app = $1 AND released = 0 ORDER BY created_us DESC, guid LIMIT $2)
         ORDER BY created_us LIMIT $3",
    )
    .bind(app.to_string())
    .bind(i64::from(rules.waiting_droplets))
    .bind(BATCH)
    .fetch_all(&mut **tx)
    .await
    .tried("find unneeded droplets")?;
    let guids = found
        .iter()
        .map(|row| row.try_get::<String, _>("guid"))
        .collect::<std::result::Result<Vec<_>, _>>()
        .tried("find unneeded droplets")?;
    if guids.is_empty() {
        return Ok((0, BTreeSet::new()));
    }
    let guids = to_json(&guids);
    let layers = sqlx::query(
        "SELECT DISTINCT digest FROM droplet_layers AS gone WHERE droplet IN (SELECT value FROM json_each($1))
           AND NOT EXISTS (
               SELECT 1 FROM droplet_layers AS kept
               WHERE kept.digest = gone.digest AND kept.droplet NOT IN (SELECT value FROM json_each($1)))",
    )
    .bind(&guids)
    .fetch_all(&mut **tx)
    .await
    .tried("find unneeded layers")?;
    let done = sqlx::query("DELETE FROM droplets WHERE guid IN (SELECT value FROM json_each($1))")
        .bind(&guids)
        .execute(&mut **tx)
        .await
        .tried("delete droplets")?;
    Ok((done.rows_affected(), digests(&layers)?))
}

/// Builds that ended, beyond the newest few.
pub(super) async fn builds(
    tx: &mut Transaction<'static, Sqlite>,
    app: AppId,
    rules: &Rules,
) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM builds WHERE guid IN (
             SELECT guid FROM builds WHERE app = $1 AND state <> 'STAGING'
             ORDER BY created_us DESC, guid LIMIT $3 OFFSET $2)",
    )
    .bind(app.to_string())
    .bind(i64::from(rules.builds))
    .bind(BATCH)
    .execute(&mut **tx)
    .await
    .tried("delete old builds")?;
    Ok(done.rows_affected())
}

/// Deployments that ended, beyond the newest few.
pub(super) async fn deployments(
    tx: &mut Transaction<'static, Sqlite>,
    app: AppId,
    rules: &Rules,
) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM deployments WHERE guid IN (
             SELECT guid FROM deployments
             WHERE app = $1 AND state <> 'ACTIVE'
             ORDER BY created_us DESC, guid LIMIT $3 OFFSET $2)",
    )
    .bind(app.to_string())
    .bind(i64::from(rules.deployments))
    .bind(BATCH)
    .execute(&mut **tx)
    .await
    .tried("delete old deployments")?;
    Ok(done.rows_affected())
}

/// Events about the app, beyond the newest.
pub(super) async fn events(
    tx: &mut Transaction<'static, Sqlite>,
    app: AppId,
    rules: &Rules,
) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM events WHERE guid IN (
             SELECT guid FROM events WHERE target = $1 ORDER BY created_us DESC, guid LIMIT $3 OFFSET $2)",
    )
    .bind(app.to_string())
    .bind(i64::from(rules.events))
    .bind(BATCH)
    .execute(&mut **tx)
    .await
    .tried("delete an app's events")?;
    Ok(done.rows_affected())
}

/// Events of any thing that are old, or beyond the most that are kept.
pub(super) async fn old_events(
    tx: &mut Transaction<'static, Sqlite>,
    rules: &Rules,
    now: i64,
) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM events WHERE guid IN (
             SELECT guid FROM events
             WHERE created_us < $1
                OR created_us < (SELECT created_us FROM events ORDER BY created_us DESC LIMIT 1 OFFSET $2)
             ORDER BY created_us LIMIT $3)",
    )
    .bind(now - rules.event_age_us)
    // The last one that stays.
    .bind(i64::from(rules.all_events) - 1)
    .bind(BATCH)
    .execute(&mut **tx)
    .await
    .tried("delete old events")?;
    Ok(done.rows_affected())
}
