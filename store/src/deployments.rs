//! Deployments: changes of release that roll.

use model::deployment::{Canary, Strategy};
use model::ids::{AppId, DeploymentId, DropletId, ProcessId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, Transaction};

use crate::error::{Error, Result, Tried};
use crate::paging::paged;
use crate::records::{Deployment, DeploymentState, DesiredLrp, Page, PageRequest, Resized};
use crate::rows::{self, corrupt, list};
use crate::{ProcessUpdate, Store, lrps, now_us, processes};

/// A deployment as somebody asks for it. What it goes back to if it fails is found in the transaction that begins it.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    pub id: DeploymentId,
    pub app: AppId,
    pub strategy: Strategy,
    pub max_in_flight: u32,
    pub droplet: DropletId,
    pub revision: u32,
    /// Whether the app gets this droplet with it. Otherwise it is the app's own already.
    pub brings_droplet: bool,
    /// Whether it rolls also where this release is the one that runs.
    pub always_rolls: bool,
    /// Figures that a process gets with it.
    pub resize: Option<(ProcessId, ProcessUpdate)>,
}

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
            resized: match rows::text_opt(row, "resized")? {
                Some(_) => Some(rows::json(row, "resized")?),
                None => None,
            },
            deadline_us: rows::big(row, "deadline_us")?,
            created_us: rows::big(row, "created_us")?,
            updated_us: rows::big(row, "updated_us")?,
        })
    }

    /// Begins a deployment: its LRPs are desired, and one under way for the same app is superseded. What that one would
    /// have gone back to is what this one goes back to, since it never proved itself. Where none is under way, and nothing
    /// serves or nothing changes, there is nothing to keep meanwhile: then it is done at once. `deadline` gets the LRPs with
    /// as many instances as there will be.
    pub async fn begin_deployment(
        &self,
        new: &NewDeployment,
        lrps: &[DesiredLrp],
        deadline: impl FnOnce(&[DesiredLrp]) -> i64,
    ) -> Result<Deployment> {
        let mut tx = self.begin().await?;
        let active = sqlx::query("SELECT * FROM deployments WHERE app = $1 AND state = 'ACTIVE'")
            .bind(new.app.to_string())
            .fetch_optional(&mut *tx)
            .await
            .tried("find the deployment under way")?;
        let active = active
            .as_ref()
            .map(|row| self.deployment(row))
            .transpose()?;
        let mut counts = lrps::counts_in(&mut tx, new.app).await?;
        let resized = resize(&mut tx, new, active.as_ref()).await?;
        if let Some(resized) = &resized {
            counts.insert(resized.process, resized.before.instances);
        }
        let now = now_us();
        let mut begun = Deployment {
            id: new.id,
            app: new.app,
            state: DeploymentState::Active,
            strategy: new.strategy.clone(),
            max_in_flight: new.max_in_flight,
            droplet: new.droplet,
            previous_droplet: None,
            revision: new.revision,
            previous_revision: new.revision,
            previous: Vec::new(),
            resized,
            deadline_us: 0,
            created_us: now,
            updated_us: now,
        };
        if let Some(active) = active {
            begun.previous = active.previous;
            begun.previous_revision = active.previous_revision;
            begun.previous_droplet = active.previous_droplet;
            sqlx::query(
                "UPDATE deployments SET state = 'SUPERSEDED', updated_us = $2 WHERE guid = $1",
            )
            .bind(active.id.to_string())
            .bind(now)
            .execute(&mut *tx)
            .await
            .tried("supersede a deployment")?;
        } else {
            begun.previous = self.desired_in(&mut tx, new.app).await?;
            let running = begun.previous.iter().map(|lrp| lrp.revision).max();
            let serves = begun.previous.iter().any(|lrp| lrp.instances > 0);
            if !serves || (!new.always_rolls && running == Some(new.revision)) {
                begun.state = DeploymentState::Deployed;
            }
            if let Some(running) = running {
                begun.previous_revision = running;
                begun.previous_droplet = droplet_of(&mut tx, new.app, running).await?;
            }
        }
        if new.brings_droplet {
            let given = sqlx::query(
                "UPDATE apps SET current_droplet = $2, updated_us = $3
                 WHERE guid = $1 AND EXISTS (SELECT 1 FROM droplets WHERE guid = $2 AND app = $1)",
            )
            .bind(new.app.to_string())
            .bind(new.droplet.to_string())
            .bind(now)
            .execute(&mut *tx)
            .await
            .tried("give an app its droplet")?;
            if given.rows_affected() == 0 {
                return Err(Error::Missing);
            }
        }
        lrps::recount(&mut begun.previous, &counts);
        let desired = self.desire_in(&mut tx, new.app, lrps.to_vec()).await?;
        begun.deadline_us = deadline(&desired);
        self.insert_deployment(&mut tx, &begun).await?;
        tx.commit().await.tried("commit a deployment")?;
        Ok(begun)
    }

    async fn insert_deployment(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        new: &Deployment,
    ) -> Result<()> {
        let (strategy, canary) = match &new.strategy {
            Strategy::Rolling => ("rolling", None),
            Strategy::Canary(canary) => ("canary", Some(rows::to_json(canary))),
        };
        let state = match new.state {
            DeploymentState::Deployed => "DEPLOYED",
            _ => "ACTIVE",
        };
        sqlx::query(
            "INSERT INTO deployments (guid, app, state, strategy, droplet, revision, previous_revision, previous, deadline_us,
                 created_us, updated_us, canary, max_in_flight, previous_droplet, resized)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11, $12, $13, $14)",
        )
        .bind(new.id.to_string())
        .bind(new.app.to_string())
        .bind(state)
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
        .bind(new.resized.as_ref().map(rows::to_json))
        .execute(&mut **tx)
        .await
        .tried("insert a deployment")?;
        Ok(())
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

    /// Ends a deployment that is under way. Where it did not succeed, what was before it is desired again, in as many
    /// instances as there should be now, and the app gets its droplet and its figures of before back, if nobody has changed
    /// them since. Returns it with what came back as `previous`. [`Error::Missing`] where it has ended already.
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
        let mut deployment = self.deployment(&row)?;
        if *state != DeploymentState::Deployed {
            if let Some(resized) = &deployment.resized
                && let Some(process) = processes::find_in(&mut tx, resized.process).await?
            {
                let update = resized.undone(process.figures()).into();
                processes::update_in(&mut tx, resized.process, &update).await?;
            }
            for lrp in &mut deployment.previous {
                lrp.rolls = true;
            }
            deployment.previous = self
                .desire_in(&mut tx, deployment.app, deployment.previous)
                .await?;
            if let Some(previous) = deployment.previous_droplet {
                sqlx::query("UPDATE apps SET current_droplet = $3 WHERE guid = $1 AND current_droplet = $2 AND $3 IN (SELECT guid FROM droplets)")
                    .bind(deployment.app.to_string())
                    .bind(deployment.droplet.to_string())
                    .bind(previous.to_string())
                    .execute(&mut *tx)
                    .await
                    .tried("give an app its droplet back")?;
            }
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

/// Gives a process the figures that a deployment brings. What one under way had brought is not what was before.
async fn resize(
    tx: &mut Transaction<'static, Sqlite>,
    new: &NewDeployment,
    active: Option<&Deployment>,
) -> Result<Option<Resized>> {
    let earlier = active.and_then(|active| active.resized);
    let wish = new.resize.as_ref();
    let Some(id) = wish
        .map(|(process, _)| *process)
        .or(earlier.map(|earlier| earlier.process))
    else {
        return Ok(None);
    };
    let now = processes::find_in(tx, id)
        .await?
        .ok_or(Error::Missing)?
        .figures();
    let earlier = earlier.filter(|earlier| earlier.process == id);
    let before = earlier.map_or(now, |earlier| earlier.undone(now));
    let after = match wish {
        Some((_, update)) => processes::update_in(tx, id, update).await?.figures(),
        None => now,
    };
    let resized = Resized {
        process: id,
        before,
        after,
    };
    Ok((before != after).then_some(resized))
}

async fn droplet_of(
    tx: &mut Transaction<'static, Sqlite>,
    app: AppId,
    revision: u32,
) -> Result<Option<DropletId>> {
    let row = sqlx::query("SELECT droplet FROM revisions WHERE app = $1 AND version = $2")
        .bind(app.to_string())
        .bind(i64::from(revision))
        .fetch_optional(&mut **tx)
        .await
        .tried("find the droplet of a release")?;
    row.as_ref()
        .map(|row| rows::parsed(row, "droplet"))
        .transpose()
}

#[cfg(test)]
mod tests;
