//! Stacks that droplets stand on.

use serde::{Deserialize, Serialize};

use crate::{Links, Metadata};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stack {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    /// Whether apps that name no stack get this one.
    #[serde(default)]
    pub default: bool,
    #[serde(default)]
    pub build_rootfs_image: String,
    #[serde(default)]
    pub run_rootfs_image: String,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}
