//! Droplets: what a build made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AppRelationship, Checksum, Lifecycle, Links, Metadata};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Droplet {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    pub state: DropletState,
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub lifecycle: Lifecycle,
    #[serde(default)]
    pub execution_metadata: String,
    /// Start command by process type; empty in lists.
    #[serde(default)]
    pub process_types: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub checksum: Option<Checksum>,
    #[serde(default)]
    pub buildpacks: Option<Vec<DropletBuildpack>>,
    #[serde(default)]
    pub stack: Option<String>,
    /// The image's layers, lowest first. Slipway's own; Cloud Foundry's droplets have none.
    #[serde(default)]
    pub layers: Vec<DropletLayer>,
    /// Of a `docker` droplet.
    #[serde(default)]
    pub image: Option<String>,
    #[serde(default)]
    pub relationships: AppRelationship,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DropletState {
    AwaitingUpload,
    ProcessingUpload,
    #[default]
    Staged,
    Copying,
    Failed,
    Expired,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DropletLayer {
    /// `runtime`, `dependencies` or `app`.
    pub kind: String,
    /// `sha256:` and the digest of the uncompressed tar: equal content has an equal one.
    pub diff_id: String,
    /// Bytes of the uncompressed tar.
    pub size: u64,
    /// Bytes that a cell transfers.
    pub compressed_size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DropletBuildpack {
    pub name: String,
    /// What it found, for people.
    #[serde(default)]
    pub detect_output: Option<String>,
    #[serde(default)]
    pub version: Option<String>,
    #[serde(default)]
    pub buildpack_name: Option<String>,
}
