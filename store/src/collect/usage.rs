//! Who uses how much of the blob store.

use model::ids::AppId;

use crate::Store;
use crate::error::{Result, Tried};
use crate::rows;

/// What the blob store holds, in packed bytes. A layer or package that several share counts once in a sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    pub layers_bytes: u64,
    pub packages_bytes: u64,
    /// The database with its log.
    pub database_bytes: u64,
    /// The apps whose releases are the largest.
    pub apps: Vec<AppUsage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppUsage {
    pub app: AppId,
    pub name: String,
    pub releases: u64,
    /// Bytes of the layers of all its droplets.
    pub bytes: u64,
}

impl Store {
    /// Adds up what rows name, and lists the `largest` apps.
    pub async fn usage(&self, largest: u32) -> Result<Usage> {
        let layers: i64 = sqlx::query_scalar(
            "SELECT COALESCE(SUM(bytes), 0) FROM (SELECT MAX(bytes) AS bytes FROM droplet_layers GROUP BY digest)",
        )
        .fetch_one(&self.reader)
        .await
        .tried("add layers up")?;
        let packages: i64 = sqlx::query_scalar(
            "SELECT COALESCE(SUM(size), 0) FROM (
                 SELECT MAX(size) AS size FROM packages WHERE state = 'READY' GROUP BY digest)",
        )
        .fetch_one(&self.reader)
        .await
        .tried("add packages up")?;
        let found = sqlx::query(
            "SELECT apps.guid, apps.name, SUM(layer.bytes) AS bytes,
                 (SELECT COUNT(*) FROM revisions WHERE revisions.app = apps.guid) AS releases
             FROM apps JOIN (
                 SELECT droplets.app AS app, MAX(droplet_layers.bytes) AS bytes
                 FROM droplet_layers JOIN droplets ON droplets.guid = droplet_layers.droplet
                 GROUP BY droplets.app, droplet_layers.digest) AS layer ON layer.app = apps.guid
             GROUP BY apps.guid, apps.name ORDER BY bytes DESC, apps.guid LIMIT $1",
        )
        .bind(i64::from(largest))
        .fetch_all(&self.reader)
        .await
        .tried("find the largest apps")?;
        let apps = found.iter().map(|row| {
            Ok(AppUsage {
                app: rows::parsed(row, "guid")?,
                name: rows::text(row, "name")?,
                releases: rows::number(row, "releases")?,
                bytes: rows::number(row, "bytes")?,
            })
        });
        let file = |name: &str| {
            std::fs::metadata(self.folder.join(name)).map_or(0, |metadata| metadata.len())
        };
        Ok(Usage {
            layers_bytes: u64::try_from(layers).unwrap_or(0),
            packages_bytes: u64::try_from(packages).unwrap_or(0),
            database_bytes: file("slipway.db") + file("slipway.db-wal"),
            apps: apps.collect::<Result<_>>()?,
        })
    }

    /// Packed bytes of an app's current droplet, and how many of its releases are kept.
    pub async fn droplet_bytes(&self, app: AppId) -> Result<u64> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT COALESCE(SUM(droplet_layers.bytes), 0) FROM droplet_layers
             JOIN apps ON apps.current_droplet = droplet_layers.droplet WHERE apps.guid = $1",
        )
        .bind(app.to_string())
        .fetch_one(&self.reader)
        .await
        .tried("add a droplet's layers up")?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// How full the disk of the data folder is.
    pub fn disk(&self) -> Result<crate::disk::Disk> {
        crate::disk::Disk::of(&self.folder)
            .map_err(|source| crate::Error::io("look at the disk".to_owned(), source))
    }
}
