//! Apps.

use model::ids::{AppId, DropletId, OrgId, SpaceId};
use model::secret::Env;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;

use crate::collect::Freed;
use crate::error::{Error, Result, Tried};
use crate::paging::paged;
use crate::records::{App, AppState, Metadata, Page, PageRequest};
use crate::rows::{self, corrupt, list, to_json};
use crate::{Store, now_us};

#[derive(Debug, Clone, Default)]
pub struct AppFilter {
    pub names: Vec<String>,
    pub guids: Vec<AppId>,
    pub spaces: Vec<SpaceId>,
    pub orgs: Vec<OrgId>,
    pub labels: Vec<LabelNeed>,
}

/// A wish about one label, which must or must not be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabelNeed {
    pub key: String,
    pub wanted: bool,
    /// With one of these values; with any where it is none.
    pub values: Option<Vec<String>>,
}

/// What changes of an app; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct AppUpdate {
    pub name: Option<String>,
    pub buildpacks: Option<Vec<String>>,
    pub env: Option<Env>,
    pub metadata: Option<Metadata>,
    pub state: Option<AppState>,
    pub current_droplet: Option<DropletId>,
}

impl Store {
    fn app(&self, row: &SqliteRow) -> Result<App> {
        Ok(App {
            id: rows::parsed(row, "guid")?,
            space: rows::parsed(row, "space")?,
            name: rows::text(row, "name")?,
            state: match rows::text(row, "state")?.as_str() {
                "STARTED" => AppState::Started,
                "STOPPED" => AppState::Stopped,
                _ => return Err(corrupt("apps.state")),
            },
            buildpacks: rows::json(row, "buildpacks")?,
            stack: rows::text_opt(row, "stack")?,
            current_droplet: rows::parsed_opt(row, "current_droplet")?,
            env: self.seal.open("apps.env", &rows::bytes(row, "env")?)?,
            metadata: rows::json(row, "metadata")?,
            created_us: rows::big(row, "created_us")?,
            updated_us: rows::big(row, "updated_us")?,
        })
    }

    pub async fn insert_app(&self, app: &App) -> Result<()> {
        sqlx::query(
            "INSERT INTO apps (guid, space, name, state, buildpacks, stack, current_droplet, env, metadata, created_us, updated_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(app.id.to_string())
        .bind(app.space.to_string())
        .bind(&app.name)
        .bind(app.state.name())
        .bind(to_json(&app.buildpacks))
        .bind(&app.stack)
        .bind(app.current_droplet.map(|id| id.to_string()))
        .bind(self.seal.seal("apps.env", &app.env)?)
        .bind(to_json(&app.metadata))
        .bind(app.created_us)
        .bind(app.updated_us)
        .execute(&self.writer)
        .await
        .tried("insert an app")?;
        Ok(())
    }

    pub async fn find_app(&self, id: AppId) -> Result<Option<App>> {
        let row = sqlx::query("SELECT * FROM apps WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find an app")?;
        row.as_ref().map(|row| self.app(row)).transpose()
    }

    pub async fn find_app_by_name(&self, space: SpaceId, name: &str) -> Result<Option<App>> {
        let row = sqlx::query("SELECT * FROM apps WHERE space = $1 AND name = $2")
            .bind(space.to_string())
            .bind(name)
            .fetch_optional(&self.reader)
            .await
            .tried("find an app by name")?;
        row.as_ref().map(|row| self.app(row)).transpose()
    }

    /// In order of name.
    pub async fn list_apps(&self, filter: &AppFilter, page: PageRequest) -> Result<Page<App>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
            "SELECT apps.*, COUNT(*) OVER () AS total FROM apps
             WHERE ($1 IS NULL OR name IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR guid IN (SELECT value FROM json_each($2)))
               AND ($3 IS NULL OR space IN (SELECT value FROM json_each($3)))
               AND ($4 IS NULL OR space IN (SELECT guid FROM spaces WHERE org IN (SELECT value FROM json_each($4))))
               AND NOT EXISTS (
                 SELECT 1 FROM json_each($5) AS need
                 WHERE (need.value ->> 'wanted') <> EXISTS (
                   SELECT 1 FROM json_each(apps.metadata, '$.labels') AS label
                   WHERE label.key = need.value ->> 'key'
                     AND (need.value ->> 'values' IS NULL
                       OR label.value IN (SELECT value FROM json_each(need.value, '$.values')))))
             ORDER BY name, guid LIMIT $6 OFFSET $7",
        )
        .bind(list(&filter.names))
        .bind(list(&filter.guids))
        .bind(list(&filter.spaces))
        .bind(list(&filter.orgs))
        .bind(to_json(&filter.labels))
        .bind(page.limit())
        .bind(page.offset())
        .fetch_all(&self.reader)
        };
        paged(page, fetch, "list apps", |row| self.app(row)).await
    }

    /// Changes an app and returns what it is then. [`Error::Missing`] also where the droplet that it is to have is none of
    /// its own, or was collected.
    pub async fn update_app(&self, id: AppId, update: &AppUpdate) -> Result<App> {
        let env = update
            .env
            .as_ref()
            .map(|env| self.seal.seal("apps.env", env))
            .transpose()?;
        let row = sqlx::query(
            "UPDATE apps SET name = COALESCE($2, name), buildpacks = COALESCE($3, buildpacks), env = COALESCE($4, env),
                 metadata = COALESCE($5, metadata), state = COALESCE($6, state),
                 current_droplet = COALESCE($7, current_droplet), updated_us = $8
             WHERE guid = $1 AND ($7 IS NULL OR EXISTS (SELECT 1 FROM droplets WHERE guid = $7 AND app = $1))
             RETURNING *",
        )
        .bind(id.to_string())
        .bind(&update.name)
        .bind(update.buildpacks.as_ref().map(to_json))
        .bind(env)
        .bind(update.metadata.as_ref().map(to_json))
        .bind(update.state.map(AppState::name))
        .bind(update.current_droplet.map(|droplet| droplet.to_string()))
        .bind(now_us())
        .fetch_optional(&self.writer)
        .await
        .tried("update an app")?;
        self.app(&row.ok_or(Error::Missing)?)
    }

    /// Changes an app's variables in one step, so that of two changes at the same moment none is lost. What `change` refuses
    /// is returned as it is, and nothing is written.
    pub async fn change_env<E>(
        &self,
        id: AppId,
        change: impl FnOnce(&Env) -> std::result::Result<Env, E>,
    ) -> Result<std::result::Result<App, E>> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT * FROM apps WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *tx)
            .await
            .tried("find an app")?;
        let known = self.app(&row.ok_or(Error::Missing)?)?;
        let env = match change(&known.env) {
            Ok(env) => env,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let row =
            sqlx::query("UPDATE apps SET env = $2, updated_us = $3 WHERE guid = $1 RETURNING *")
                .bind(id.to_string())
                .bind(self.seal.seal("apps.env", &env)?)
                .bind(now_us())
                .fetch_one(&mut *tx)
                .await
                .tried("change an app's variables")?;
        tx.commit().await.tried("commit an app's variables")?;
        Ok(Ok(self.app(&row)?))
    }

    /// Deletes an app with everything that only it has. Its routes stay, without it. Returns what may be swept now, if no
    /// other app needs it.
    pub async fn delete_app(&self, id: AppId) -> Result<Freed> {
        let mut tx = self.begin().await?;
        let freed = Freed::of_app(&mut tx, id).await?;
        let files = sqlx::query(
            "DELETE FROM resources WHERE package_digest IN (SELECT digest FROM packages WHERE app = $1)
               AND package_digest NOT IN (SELECT digest FROM packages WHERE app <> $1 AND digest IS NOT NULL)",
        )
        .bind(id.to_string())
        .execute(&mut *tx)
        .await;
        files.tried("forget an app's files")?;
        let done = sqlx::query("DELETE FROM apps WHERE guid = $1")
            .bind(id.to_string())
            .execute(&mut *tx)
            .await
            .tried("delete an app")?;
        if done.rows_affected() == 0 {
            return Err(Error::Missing);
        }
        tx.commit().await.tried("commit the end of an app")?;
        Ok(freed)
    }
}
