//! Packages: source, uploaded.

use serde::{Deserialize, Serialize};

use crate::{AppRelationship, Links, Metadata};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Package {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    /// `bits` or `docker`.
    #[serde(rename = "type")]
    pub kind: String,
    pub state: PackageState,
    #[serde(default)]
    pub data: PackageData,
    #[serde(default)]
    pub relationships: AppRelationship,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PackageState {
    #[default]
    AwaitingUpload,
    ProcessingUpload,
    Ready,
    Failed,
    Copying,
    Expired,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PackageData {
    /// Why the package failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of the whole package, once it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Of a `docker` package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checksum {
    /// `sha256`.
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub value: Option<String>,
}

/// Body of `POST /v3/packages`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreatePackage {
    /// Absent where another package is to be copied, as `cf copy-source` asks.
    #[serde(rename = "type", default)]
    pub kind: String,
    pub relationships: AppRelationship,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PackageData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

impl CreatePackage {
    pub fn bits(app_guid: impl Into<String>) -> Self {
        Self {
            kind: "bits".into(),
            relationships: AppRelationship::to(app_guid),
            data: None,
            metadata: None,
        }
    }
}
