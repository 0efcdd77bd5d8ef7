//! Variables that every app gets, where it has none of that name itself.

use std::collections::BTreeMap;

use model::secret::Env;
use store::records::EnvironmentGroup;

use crate::apps::{check_env, merged};
use crate::{Actor, Control, Result};

impl Control {
    pub async fn environment_group(&self, _: &Actor, group: EnvironmentGroup) -> Result<Env> {
        Ok(self.store().environment_group(group).await?)
    }

    /// Sets and removes (`None`) variables. They reach an app with its next release, or its next build.
    pub async fn patch_environment_group(
        &self,
        _: &Actor,
        group: EnvironmentGroup,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<Env> {
        let change = |known: &Env| -> Result<Env> {
            let env = merged(known, &changes);
            check_env(&env)?;
            Ok(env)
        };
        self.store().change_environment_group(group, change).await?
    }
}
