//! Deployments: changes of release that roll.

use model::deployment::{Canary, Strategy};
use model::ids::{AppId, DeploymentId};
use sqlx::sqlite::SqliteRow;

use crate::error::{Error, Result, Tried};
use crate::paging::paged;
use crate::records::{Deployment, DeploymentState, DesiredLrp, Page, PageRequest};
use crate::rows::{self, corrupt, list};
use crate::{Store, now_us};

#[derive(Debug, Clone, Default)]
pub struct DeploymentFilter {
    pub guids: Vec<DeploymentId>,
    pub apps: Vec<AppId>,
    /// Only those under way.
    pub active: bool,
    pub newest_first: bool,
}

impl Store {
    fn deployment(&self, row: &SqliteRow) -> Result<Deployment> {
        Ok(Deployment {
            id: rows::parsed(row, "guid")?,
            app: rows::parsed(row, "app")?,
            state: match rows::text(row, "state")?.as_str() {
                "ACTIVE" => DeploymentState::Active,
                "DEPLOYED" => DeploymentState::Deployed,
                "CANCELED" => DeploymentState::Canceled,
                "SUPERSEDED" => DeploymentState::Superseded,
                "FAILED" => DeploymentState::Failed {
                    error: match rows::bytes_opt(row, "error")? {
                        Some(sealed) => self.seal.open("deployments.error", &sealed)?,
                        // Dropped by an upgrade, since it lay unsealed.
                        None => "the reason was not kept".to_owned(),
                    },
                },
                _ => return Err(corrupt("deployments.state")),
            },
            strategy: match rows::text_opt(row, "canary")? {
                Some(_) => Strategy::Canary(rows::json(row, "canary")?),
                None => Strategy::Rolling,
            },
            max_in_flight: rows::number(row, "max_in_flight")?,
            droplet: rows::parsed(row, "droplet")?,
            previous_droplet: rows::parsed_opt(row, "previous_droplet")?,
            revision: rows::number(row, "revision")?,
            previous_revision: rows::number(row, "previous_revision")?,
            previous: self
                .seal
                .open("deployments.previous", &rows::bytes(row, "previous")?)?,
            deadline_us: rows::big(row, "deadline_us")?,
            created_us: rows::big(row, "created_us")?,
            updated_us: rows::big(row, "updated_us")?,
        })
    }

    /// Begins a deployment: its LRPs are desired, and one under way for the same app is superseded. What that one would
    /// have gone back to is what this one goes back to, since it never proved itself.
    pub async fn begin_deployment(
        &self,
        new: &Deployment,
        lrps: &[DesiredLrp],
    ) -> Result<Deployment> {
        let mut new = new.clone();
        let mut tx = self.begin().await?;
        let active = sqlx::query("SELECT * FROM deployments WHERE app = $1 AND state = 'ACTIVE'")
            .bind(new.app.to_string())
            .fetch_optional(&mut *tx)
            .await
            .tried("find the deployment under way")?;
        if let Some(active) = active
            .as_ref()
            .map(|row| self.deployment(row))
            .transpose()?
        {
            new.previous = active.previous;
            new.previous_revision = active.previous_revision;
            new.previous_droplet = active.previous_droplet;
            sqlx::query(
                "UPDATE deployments SET state = 'SUPERSEDED', updated_us = $2 WHERE guid = $1",
            )
            .bind(active.id.to_string())
            .bind(now_us())
            .execute(&mut *tx)
            .await
            .tried("supersede a deployment")?;
        }
        let (strategy, canary) = match &new.strategy {
            Strategy::Rolling => ("rolling", None),
            Strategy::Canary(canary) => ("canary", Some(rows::to_json(canary))),
        };
        sqlx::query(
            "INSERT INTO deployments (guid, app, state, strategy, droplet, revision, previous_revision, previous, deadline_us,
                 created_us, updated_us, canary, max_in_flight, previous_droplet)
             VALUES ($1, $2, 'ACTIVE', $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, $12)",
        )
        .bind(new.id.to_string())
        .bind(new.app.to_string())
        .bind(strategy)
        .bind(new.droplet.to_string())
        .bind(i64::from(new.revision))
        .bind(i64::from(new.previous_revision))
        .bind(self.seal.seal("deployments.previous", &new.previous)?)
        .bind(new.deadline_us)
        .bind(new.created_us)
        .bind(canary)
        .bind(i64::from(new.max_in_flight))
        .bind(new.previous_droplet.map(|droplet| droplet.to_string()))
        .execute(&mut *tx)
        .await
        .tried("insert a deployment")?;
        self.desire_in(&mut tx, new.app, lrps).await?;
        tx.commit().await.tried("commit a deployment")?;
        Ok(new)
    }

    /// Moves a canary deployment that is under way and stands where `from` says.
    /// [`Error::Missing`] where it does not any more.
    pub async fn move_canary(
        &self,
        id: DeploymentId,
        from: &Canary,
        to: &Canary,
        deadline_us: i64,
    ) -> Result<Deployment> {
        let row = sqlx::query(
            "UPDATE deployments SET canary = $3, deadline_us = $4, updated_us = $5
             WHERE guid = $1 AND state = 'ACTIVE' AND canary = $2 RETURNING *",
        )
        .bind(id.to_string())
        .bind(rows::to_json(from))
        .bind(rows::to_json(to))
        .bind(deadline_us)
        .bind(now_us())
        .fetch_optional(&self.writer)
        .await
        .tried("move a canary deployment")?
        .ok_or(Error::Missing)?;
        self.deployment(&row)
    }

    /// Ends a deployment that is under way, and where it did not succeed desires again what was before it.
    /// [`Error::Missing`] where it has ended already.
    pub async fn end_deployment(
        &self,
        id: DeploymentId,
        state: &DeploymentState,
    ) -> Result<Deployment> {
        let (name, error) = match state {
            DeploymentState::Active => return Err(corrupt("an ended deployment that is active")),
            DeploymentState::Deployed => ("DEPLOYED", None),
            DeploymentState::Canceled => ("CANCELED", None),
            DeploymentState::Superseded => ("SUPERSEDED", None),
            DeploymentState::Failed { error } => {
                ("FAILED", Some(self.seal.seal("deployments.error", error)?))
            }
        };
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "UPDATE deployments SET state = $2, error = $3, updated_us = $4 WHERE guid = $1 AND state = 'ACTIVE' RETURNING *",
        )
        .bind(id.to_string())
        .bind(name)
        .bind(error)
        .bind(now_us())
        .fetch_optional(&mut *tx)
        .await
        .tried("end a deployment")?
        .ok_or(Error::Missing)?;
        let deployment = self.deployment(&row)?;
        if *state != DeploymentState::Deployed {
            let mut previous = deployment.previous.clone();
            for lrp in &mut previous {
                lrp.rolls = true;
            }
            self.desire_in(&mut tx, deployment.app, &previous).await?;
        }
        if let (DeploymentState::Canceled, Some(previous)) = (state, deployment.previous_droplet) {
            sqlx::query("UPDATE apps SET current_droplet = $3 WHERE guid = $1 AND current_droplet = $2 AND $3 IN (SELECT guid FROM droplets)")
                .bind(deployment.app.to_string())
                .bind(deployment.droplet.to_string())
                .bind(previous.to_string())
                .execute(&mut *tx)
                .await
                .tried("give an app its droplet back")?;
        }
        tx.commit().await.tried("commit the end of a deployment")?;
        Ok(deployment)
    }

    pub async fn list_deployments(
        &self,
        filter: &DeploymentFilter,
        page: PageRequest,
    ) -> Result<Page<Deployment>> {
        let fetch = |page: PageRequest| {
            sqlx::query(
                "SELECT *, COUNT(*) OVER () AS total FROM deployments
             WHERE ($1 IS NULL OR guid IN (SELECT value FROM json_each($1)))
               AND ($2 IS NULL OR app IN (SELECT value FROM json_each($2)))
               AND ($3 = 0 OR state = 'ACTIVE')
             ORDER BY CASE WHEN $4 THEN -created_us ELSE created_us END, guid LIMIT $5 OFFSET $6",
            )
            .bind(list(&filter.guids))
            .bind(list(&filter.apps))
            .bind(filter.active)
            .bind(filter.newest_first)
            .bind(page.limit())
            .bind(page.offset())
            .fetch_all(&self.reader)
        };
        paged(page, fetch, "list deployments", |row| self.deployment(row)).await
    }

    pub async fn find_deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        let filter = DeploymentFilter {
            guids: vec![id],
            ..DeploymentFilter::default()
        };
        Ok(self
            .list_deployments(&filter, PageRequest::ALL)
            .await?
            .items
            .pop())
    }
}
