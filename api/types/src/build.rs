//! Builds: one try to make a droplet from a package.

use serde::{Deserialize, Serialize};

use crate::{AppRelationship, Lifecycle, Links, Metadata, Ref};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Build {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    #[serde(default)]
    pub created_by: Option<CreatedBy>,
    pub state: BuildState,
    /// Why it failed: one of the words in [`crate::details`], ` - `, the cause; more lines are the evidence.
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub staging_memory_in_mb: Option<u32>,
    #[serde(default)]
    pub staging_disk_in_mb: Option<u32>,
    #[serde(default)]
    pub lifecycle: Lifecycle,
    #[serde(default)]
    pub package: Option<Ref>,
    #[serde(default)]
    pub droplet: Option<Ref>,
    #[serde(default)]
    pub relationships: AppRelationship,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum BuildState {
    #[default]
    Staging,
    Staged,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreatedBy {
    pub guid: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub email: Option<String>,
}

/// Body of `POST /v3/builds`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateBuild {
    pub package: Ref,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging_memory_in_mb: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging_disk_in_mb: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}
