//! Deployments: a droplet replaced under traffic.

use serde::{Deserialize, Serialize};

use crate::{AppRelationship, Links, Metadata, NamedProcess, Ref};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deployment {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    #[serde(default)]
    pub status: DeploymentStatus,
    /// `rolling` or `canary`.
    #[serde(default)]
    pub strategy: String,
    #[serde(default)]
    pub options: DeploymentOptions,
    #[serde(default)]
    pub droplet: Option<Ref>,
    #[serde(default)]
    pub previous_droplet: Option<Ref>,
    #[serde(default)]
    pub new_processes: Vec<NamedProcess>,
    #[serde(default)]
    pub revision: Option<DeploymentRevision>,
    #[serde(default)]
    pub relationships: AppRelationship,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeploymentStatus {
    /// `ACTIVE` or `FINALIZED`.
    #[serde(default)]
    pub value: String,
    /// `DEPLOYING`, `PAUSED`, `DEPLOYED`, `CANCELED`, `SUPERSEDED`, …
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub details: DeploymentDetails,
    /// Of a canary deployment that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CanaryStatus {
    pub steps: CanaryProgress,
}

/// Counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CanaryProgress {
    #[serde(default)]
    pub current: u32,
    #[serde(default)]
    pub total: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeploymentDetails {
    #[serde(default)]
    pub last_successful_healthcheck: Option<String>,
    #[serde(default)]
    pub last_status_change: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeploymentOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_instances: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_in_mb: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_in_mb: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_rate_limit_in_bytes_per_second: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryOptions>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CanaryOptions {
    #[serde(default)]
    pub steps: Vec<CanaryStep>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CanaryStep {
    /// Percent of the instances, 1 to 100.
    pub instance_weight: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeploymentRevision {
    pub guid: String,
    pub version: u64,
}

/// Body of `POST /v3/deployments`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateDeployment {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub droplet: Option<Ref>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Ref>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<DeploymentOptions>,
    pub relationships: AppRelationship,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}
