//! Environment variables of an app. Values are secrets.

use std::collections::BTreeMap;

use model::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Links;

/// Values by name.
pub type EnvironmentMap = BTreeMap<String, Secret<String>>;

/// Answer to `GET` and `PATCH /v3/apps/G/environment_variables` and `/v3/environment_variable_groups/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EnvironmentVariables {
    /// Of a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub var: EnvironmentMap,
    #[serde(default)]
    pub links: Links,
}

/// Body of `PATCH /v3/apps/G/environment_variables`: a `null` value unsets its name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpdateEnvironment {
    pub var: BTreeMap<String, Option<Secret<String>>>,
}

/// Answer to `GET /v3/apps/G/env`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AppEnvironment {
    /// What the user set.
    #[serde(default)]
    pub environment_variables: EnvironmentMap,
    #[serde(default)]
    pub staging_env_json: EnvironmentMap,
    #[serde(default)]
    pub running_env_json: EnvironmentMap,
    /// `VCAP_SERVICES`.
    #[serde(default)]
    pub system_env_json: Secret<BTreeMap<String, Value>>,
    /// `VCAP_APPLICATION`.
    #[serde(default)]
    pub application_env_json: BTreeMap<String, Value>,
}
