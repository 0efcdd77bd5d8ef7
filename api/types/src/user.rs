//! Users.

use serde::{Deserialize, Serialize};

use crate::{Links, Metadata};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct User {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub presentation_name: String,
    #[serde(default)]
    pub origin: Option<String>,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}
