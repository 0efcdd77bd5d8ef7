//! Processes of an app.

use serde::{Deserialize, Serialize};

use crate::{Links, Metadata, Ref, ToOne};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Process {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    #[serde(default)]
    pub version: String,
    /// `web`, `worker`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Lists show `[PRIVATE DATA HIDDEN IN LISTS]` here.
    #[serde(default)]
    pub command: Option<String>,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub instances: u32,
    #[serde(default)]
    pub memory_in_mb: u32,
    #[serde(default)]
    pub disk_in_mb: u32,
    /// -1 means unlimited.
    #[serde(default = "unlimited")]
    pub log_rate_limit_in_bytes_per_second: i64,
    #[serde(default)]
    pub health_check: HealthCheck,
    #[serde(default)]
    pub readiness_health_check: ReadinessHealthCheck,
    #[serde(default)]
    pub relationships: ProcessRelationships,
    /// With `embed=process_instances` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_instances: Option<Vec<ProcessInstance>>,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

/// What lists show instead of a command.
pub const HIDDEN_IN_LISTS: &str = "[PRIVATE DATA HIDDEN IN LISTS]";

const fn unlimited() -> i64 {
    -1
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessRelationships {
    #[serde(default)]
    pub app: ToOne,
    #[serde(default)]
    pub revision: ToOne,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInstance {
    pub index: u32,
    pub state: crate::InstanceState,
    /// Seconds in this state.
    #[serde(default)]
    pub since: u64,
}

/// Also the body of `health_check` in an update.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `port`, `http` or `process`.
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub data: HealthCheckData,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthCheckData {
    /// Seconds an instance may take to start; `null` is the platform's default.
    #[serde(default)]
    pub timeout: Option<u32>,
    /// Seconds one try may take.
    #[serde(default)]
    pub invocation_timeout: Option<u32>,
    /// Seconds between tries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    /// Path of an `http` check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadinessHealthCheck {
    /// `process`, `port` or `http`.
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub data: ReadinessData,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadinessData {
    #[serde(default)]
    pub invocation_timeout: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// Body of `PATCH /v3/processes/G`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpdateProcess {
    /// `Some(None)` returns to the buildpack's command.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::common::present"
    )]
    pub command: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_health_check: Option<ReadinessHealthCheck>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// Body of `POST /v3/processes/G/actions/scale` and `POST /v3/apps/G/processes/TYPE/actions/scale`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scale {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_in_mb: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_in_mb: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_rate_limit_in_bytes_per_second: Option<i64>,
}

/// A sidecar, listed by `GET /v3/processes/G/sidecars`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sidecar {
    pub guid: String,
    pub name: String,
    #[serde(default)]
    pub command: Option<String>,
    #[serde(default)]
    pub process_types: Vec<String>,
    #[serde(default)]
    pub memory_in_mb: Option<u32>,
    #[serde(default)]
    pub origin: String,
    #[serde(default)]
    pub relationships: crate::AppRelationship,
}

/// A process as deployments and revisions name it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamedProcess {
    #[serde(flatten)]
    pub process: Ref,
    #[serde(rename = "type")]
    pub kind: String,
}
