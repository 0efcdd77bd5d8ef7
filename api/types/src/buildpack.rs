//! Buildpacks that the platform offers.

use serde::{Deserialize, Serialize};

use crate::{Links, Metadata};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Buildpack {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    pub name: String,
    /// `AWAITING_UPLOAD` or `READY`.
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub filename: Option<String>,
    #[serde(default)]
    pub stack: Option<String>,
    /// Order of detection, from 1.
    #[serde(default)]
    pub position: u32,
    #[serde(default)]
    pub enabled: bool,
    #[serde(default)]
    pub locked: bool,
    #[serde(default)]
    pub lifecycle: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}
