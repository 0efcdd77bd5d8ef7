//! Releases.

use model::ids::{AppId, RevisionId};
use sqlx::sqlite::SqliteRow;

use crate::error::{Error, Result, Tried};
use crate::paging::paged;
use crate::records::{Page, PageRequest, Revision, Snapshot};
use crate::rows::{self, list};
use crate::{Store, now_us};

impl Store {
    fn revision(&self, row: &SqliteRow) -> Result<Revision> {
        Ok(Revision {
            id: rows::parsed(row, "guid")?,
            app: rows::parsed(row, "app")?,
            version: rows::number(row, "version")?,
            droplet: rows::parsed(row, "droplet")?,
            description: rows::text(row, "description")?,
            snapshot: self
                .seal
                .open("revisions.snapshot", &rows::bytes(row, "snapshot")?)?,
            created_us: rows::big(row, "created_us")?,
        })
    }

    /// The release that `snapshot` is: the app's newest one where nothing changed since, else a new one with the next
    /// number. `describe` gets the newest release to say what changed. [`Error::Missing`] where its droplet is gone.
    pub async fn release(
        &self,
        app: AppId,
        snapshot: &Snapshot,
        describe: impl FnOnce(Option<&Revision>) -> String,
    ) -> Result<Revision> {
        let fingerprint = self.seal.fingerprint(snapshot);
        let mut tx = self.begin().await?;
        let newest =
            sqlx::query("SELECT * FROM revisions WHERE app = $1 ORDER BY version DESC LIMIT 1")
                .bind(app.to_string())
                .fetch_optional(&mut *tx)
                .await
                .tried("find the newest release")?;
        let newest = match &newest {
            Some(row) if rows::text(row, "fingerprint")? == fingerprint => {
                return self.revision(row);
            }
            Some(row) => Some(self.revision(row)?),
            None => None,
        };
        // From here on the release keeps its droplet; one that was collected a moment ago does not come back.
        let kept = sqlx::query("UPDATE droplets SET released = 1 WHERE guid = $1")
            .bind(snapshot.droplet.to_string())
            .execute(&mut *tx)
            .await
            .tried("keep a droplet")?;
        if kept.rows_affected() == 0 {
            return Err(Error::Missing);
        }
        let revision = Revision {
            id: RevisionId::random(),
            app,
            version: newest.as_ref().map_or(1, |newest| newest.version + 1),
            droplet: snapshot.droplet,
            description: describe(newest.as_ref()),
            snapshot: snapshot.clone(),
            created_us: now_us(),
        };
        sqlx::query(
            "INSERT INTO revisions (guid, app, version, droplet, snapshot, fingerprint, description, created_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(revision.id.to_string())
        .bind(app.to_string())
        .bind(i64::from(revision.version))
        .bind(revision.droplet.to_string())
        .bind(self.seal.seal("revisions.snapshot", snapshot)?)
        .bind(fingerprint)
        .bind(&revision.description)
        .bind(revision.created_us)
        .execute(&mut *tx)
        .await
        .tried("insert a release")?;
        tx.commit().await.tried("commit a release")?;
        Ok(revision)
    }

    pub async fn find_revision(&self, id: RevisionId) -> Result<Option<Revision>> {
        let row = sqlx::query("SELECT * FROM revisions WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a release")?;
        row.as_ref().map(|row| self.revision(row)).transpose()
    }

    /// Newest first.
    pub async fn list_revisions(
        &self,
        app: AppId,
        versions: &[u32],
        page: PageRequest,
    ) -> Result<Page<Revision>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
            "SELECT *, COUNT(*) OVER () AS total FROM revisions
             WHERE app = $1 AND ($2 IS NULL OR CAST(version AS TEXT) IN (SELECT value FROM json_each($2)))
             ORDER BY version DESC LIMIT $3 OFFSET $4",
        )
        .bind(app.to_string())
        .bind(list(versions))
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(&self.reader)
        };
        paged(page, fetch, "list releases", |row| self.revision(row)).await
    }
}
