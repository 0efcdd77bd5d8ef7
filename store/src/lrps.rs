//! Desired LRPs: what should run now.

use std::collections::BTreeMap;

use model::ids::{AppId, ProcessId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use crate::error::{Result, Tried};
use crate::records::{AppState, Deployment, DesiredLrp, LrpOutline, Outline};
use crate::rows;
use crate::{Store, now_us};

impl Store {
    fn desired_lrp(&self, row: &SqliteRow) -> Result<DesiredLrp> {
        Ok(DesiredLrp {
            process: rows::parsed(row, "process")?,
            app: rows::parsed(row, "app")?,
            version: rows::parsed(row, "version")?,
            revision: rows::number(row, "revision")?,
            instances: rows::number(row, "instances")?,
            rolls: rows::number::<u8>(row, "rolls")? != 0,
            spec: self
                .seal
                .open("desired_lrps.spec", &rows::bytes(row, "spec")?)?,
            updated_us: rows::big(row, "updated_us")?,
        })
    }

    /// Starts (or replaces) what runs of an app: in one transaction the app is started, the given LRPs are desired, and
    /// those of its other processes are not. There are as many instances of each as its process says then.
    pub async fn desire_app(&self, app: AppId, lrps: &[DesiredLrp]) -> Result<()> {
        let mut tx = self.begin().await?;
        self.desire_in(&mut tx, app, lrps.to_vec()).await?;
        tx.commit().await.tried("commit desired LRPs")
    }

    /// [`Store::desire_app`] as a part of a larger transaction. Returns what is desired now.
    pub(crate) async fn desire_in(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        app: AppId,
        mut lrps: Vec<DesiredLrp>,
    ) -> Result<Vec<DesiredLrp>> {
        recount(&mut lrps, &counts_in(tx, app).await?);
        sqlx::query("UPDATE apps SET state = $2, updated_us = $3 WHERE guid = $1")
            .bind(app.to_string())
            .bind(AppState::Started.name())
            .bind(now_us())
            .execute(&mut **tx)
            .await
            .tried("start an app")?;
        sqlx::query("DELETE FROM desired_lrps WHERE app = $1")
            .bind(app.to_string())
            .execute(&mut **tx)
            .await
            .tried("clear desired LRPs")?;
        for lrp in &lrps {
            sqlx::query(
                "INSERT INTO desired_lrps (process, app, version, revision, instances, rolls, spec, updated_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(lrp.process.to_string())
            .bind(lrp.app.to_string())
            .bind(lrp.version.to_string())
            .bind(i64::from(lrp.revision))
            .bind(i64::from(lrp.instances))
            .bind(i64::from(lrp.rolls))
            .bind(self.seal.seal("desired_lrps.spec", &lrp.spec)?)
            .bind(lrp.updated_us)
            .execute(&mut **tx)
            .await
            .tried("insert a desired LRP")?;
        }
        Ok(lrps)
    }

    /// What is desired of an app, within a transaction.
    pub(crate) async fn desired_in(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        app: AppId,
    ) -> Result<Vec<DesiredLrp>> {
        let found = sqlx::query("SELECT * FROM desired_lrps WHERE app = $1 ORDER BY process")
            .bind(app.to_string())
            .fetch_all(&mut **tx)
            .await
            .tried("list desired LRPs")?;
        found.iter().map(|row| self.desired_lrp(row)).collect()
    }

    /// Stops an app: nothing of it is desired any more.
    pub async fn undesire_app(&self, app: AppId) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE apps SET state = $2, updated_us = $3 WHERE guid = $1")
            .bind(app.to_string())
            .bind(AppState::Stopped.name())
            .bind(now_us())
            .execute(&mut *tx)
            .await
            .tried("stop an app")?;
        sqlx::query("DELETE FROM desired_lrps WHERE app = $1")
            .bind(app.to_string())
            .execute(&mut *tx)
            .await
            .tried("clear desired LRPs")?;
        sqlx::query("UPDATE deployments SET state = 'CANCELED', updated_us = $2 WHERE app = $1 AND state = 'ACTIVE'")
            .bind(app.to_string())
            .bind(now_us())
            .execute(&mut *tx)
            .await
            .tried("cancel a deployment")?;
        tx.commit().await.tried("commit a stop")
    }

    /// What is desired of every app that something is desired of.
    pub async fn outline_desired(&self) -> Result<BTreeMap<AppId, Outline>> {
        let mut outlines: BTreeMap<AppId, Outline> = BTreeMap::new();
        let found = sqlx::query(
            "SELECT app, process, version, instances, rolls FROM desired_lrps ORDER BY process",
        )
        .fetch_all(&self.reader)
        .await
        .tried("outline desired LRPs")?;
        for row in &found {
            let lrp = LrpOutline {
                process: rows::parsed(row, "process")?,
                version: rows::parsed(row, "version")?,
                instances: rows::number(row, "instances")?,
                rolls: rows::number::<u8>(row, "rolls")? != 0,
            };
            let app = rows::parsed(row, "app")?;
            outlines.entry(app).or_default().lrps.push(lrp);
        }
        let found =
            sqlx::query("SELECT app, guid, updated_us FROM deployments WHERE state = 'ACTIVE'")
                .fetch_all(&self.reader)
                .await
                .tried("outline deployments")?;
        for row in &found {
            let deployment = (rows::parsed(row, "guid")?, rows::big(row, "updated_us")?);
            let app = rows::parsed(row, "app")?;
            outlines.entry(app).or_default().deployment = Some(deployment);
        }
        Ok(outlines)
    }

    pub async fn list_desired_lrps(&self, app: Option<AppId>) -> Result<Vec<DesiredLrp>> {
        let found = sqlx::query(
            "SELECT * FROM desired_lrps WHERE ($1 IS NULL OR app = $1) ORDER BY process",
        )
        .bind(app.map(|app| app.to_string()))
        .fetch_all(&self.reader)
        .await
        .tried("list desired LRPs")?;
        found.iter().map(|row| self.desired_lrp(row)).collect()
    }
}

impl Outline {
    /// Of LRPs as [`Store::list_desired_lrps`] orders them.
    #[must_use]
    pub fn new(lrps: &[DesiredLrp], deployment: Option<&Deployment>) -> Self {
        let outline = |lrp: &DesiredLrp| LrpOutline {
            process: lrp.process,
            version: lrp.version,
            instances: lrp.instances,
            rolls: lrp.rolls,
        };
        Self {
            lrps: lrps.iter().map(outline).collect(),
            deployment: deployment.map(|deployment| (deployment.id, deployment.updated_us)),
        }
    }
}

/// How many instances each process of an app should have.
pub(crate) async fn counts_in(
    tx: &mut Transaction<'static, Sqlite>,
    app: AppId,
) -> Result<BTreeMap<ProcessId, u32>> {
    let found = sqlx::query("SELECT guid, instances FROM processes WHERE app = $1")
        .bind(app.to_string())
        .fetch_all(&mut **tx)
        .await
        .tried("count an app's instances")?;
    let count = |row| Ok((rows::parsed(row, "guid")?, rows::number(row, "instances")?));
    found.iter().map(count).collect()
}

pub(crate) fn recount(lrps: &mut [DesiredLrp], counts: &BTreeMap<ProcessId, u32>) {
    for lrp in lrps {
        lrp.instances = counts.get(&lrp.process).copied().unwrap_or(lrp.instances);
    }
}
