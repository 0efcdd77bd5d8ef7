//! Renaming and deleting organizations and spaces.

use model::ids::{AppId, OrgId, SpaceId};
use sqlx::{Sqlite, Transaction};

use super::{org, space};
use crate::error::{Error, Result, Tried};
use crate::records::{Org, Space};
use crate::rows;
use crate::{Store, now_us};

impl Store {
    pub async fn rename_org(&self, id: OrgId, name: &str) -> Result<Org> {
        let row = sqlx::query(
            "UPDATE organizations SET name = $2, updated_us = $3 WHERE guid = $1 RETURNING *",
        )
        .bind(id.to_string())
        .bind(name)
        .bind(now_us())
        .fetch_optional(&self.writer)
        .await
        .tried("rename an organization")?;
        org(&row.ok_or(Error::Missing)?)
    }

    pub async fn rename_space(&self, id: SpaceId, name: &str) -> Result<Space> {
        let row =
            sqlx::query("UPDATE spaces SET name = $2, updated_us = $3 WHERE guid = $1 RETURNING *")
                .bind(id.to_string())
                .bind(name)
                .bind(now_us())
                .fetch_optional(&self.writer)
                .await
                .tried("rename a space")?;
        space(&row.ok_or(Error::Missing)?)
    }

    /// Deletes a space with all that is in it. Returns the apps that were.
    pub async fn delete_space(&self, id: SpaceId) -> Result<Vec<AppId>> {
        let mut tx = self.begin().await?;
        let (apps, spaces) = delete_spaces(&mut tx, &id.to_string()).await?;
        if spaces == 0 {
            return Err(Error::Missing);
        }
        tx.commit().await.tried("commit the end of a space")?;
        Ok(apps)
    }

    /// Deletes an organization with its spaces and all that is in them. Returns the apps that were.
    pub async fn delete_org(&self, id: OrgId) -> Result<Vec<AppId>> {
        let mut tx = self.begin().await?;
        let (apps, _) = delete_spaces(&mut tx, &id.to_string()).await?;
        let done = sqlx::query("DELETE FROM organizations WHERE guid = $1")
            .bind(id.to_string())
            .execute(&mut *tx)
            .await
            .tried("delete an organization")?;
        if done.rows_affected() == 0 {
            return Err(Error::Missing);
        }
        tx.commit()
            .await
            .tried("commit the end of an organization")?;
        Ok(apps)
    }
}

/// Deletes the space with this GUID, or the spaces of the organization with it. Returns their apps, and how many spaces
/// there were.
async fn delete_spaces(
    tx: &mut Transaction<'static, Sqlite>,
    guid: &str,
) -> Result<(Vec<AppId>, u64)> {
    let apps = sqlx::query(
        "DELETE FROM apps WHERE space IN (SELECT guid FROM spaces WHERE guid = $1 OR org = $1) RETURNING guid",
    )
    .bind(guid)
    .fetch_all(&mut **tx)
    .await
    .tried("delete the apps of a space")?;
    for statement in [
        "DELETE FROM routes WHERE space IN (SELECT guid FROM spaces WHERE guid = $1 OR org = $1)",
        "DELETE FROM service_instances WHERE space IN (SELECT guid FROM spaces WHERE guid = $1 OR org = $1)",
    ] {
        sqlx::query(statement)
            .bind(guid)
            .execute(&mut **tx)
            .await
            .tried("empty a space")?;
    }
    let spaces = sqlx::query("DELETE FROM spaces WHERE guid = $1 OR org = $1")
        .bind(guid)
        .execute(&mut **tx)
        .await
        .tried("delete a space")?;
    let apps = apps
        .iter()
        .map(|row| rows::parsed(row, "guid"))
        .collect::<Result<_>>()?;
    Ok((apps, spaces.rows_affected()))
}
