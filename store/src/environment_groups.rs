//! Variables that every app gets.

use model::secret::Env;

use crate::error::{Result, Tried};
use crate::records::EnvironmentGroup;
use crate::rows;
use crate::{Store, now_us};

impl Store {
    /// Empty until somebody sets it.
    pub async fn environment_group(&self, group: EnvironmentGroup) -> Result<Env> {
        let row = sqlx::query("SELECT env FROM environment_groups WHERE name = $1")
            .bind(group.name())
            .fetch_optional(&self.reader)
            .await
            .tried("find an environment variable group")?;
        match row {
            Some(row) => self
                .seal
                .open("environment_groups.env", &rows::bytes(&row, "env")?),
            None => Ok(Env::new()),
        }
    }

    /// Changes a group in one step. What `change` refuses is returned as it is, and nothing is written.
    pub async fn change_environment_group<E>(
        &self,
        group: EnvironmentGroup,
        change: impl FnOnce(&Env) -> std::result::Result<Env, E>,
    ) -> Result<std::result::Result<Env, E>> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT env FROM environment_groups WHERE name = $1")
            .bind(group.name())
            .fetch_optional(&mut *tx)
            .await
            .tried("find an environment variable group")?;
        let known = match row {
            Some(row) => self
                .seal
                .open("environment_groups.env", &rows::bytes(&row, "env")?)?,
            None => Env::new(),
        };
        let env = match change(&known) {
            Ok(env) => env,
            Err(refusal) => return Ok(Err(refusal)),
        };
        sqlx::query(
            "INSERT INTO environment_groups (name, env, updated_us) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET env = $2, updated_us = $3",
        )
        .bind(group.name())
        .bind(self.seal.seal("environment_groups.env", &env)?)
        .bind(now_us())
        .execute(&mut *tx)
        .await
        .tried("change an environment variable group")?;
        tx.commit()
            .await
            .tried("commit an environment variable group")?;
        Ok(Ok(env))
    }
}
