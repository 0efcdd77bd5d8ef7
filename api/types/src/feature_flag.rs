//! Feature flags.

use serde::{Deserialize, Serialize};

use crate::Links;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeatureFlag {
    pub name: String,
    pub enabled: bool,
    #[serde(default)]
    pub updated_at: Option<String>,
    #[serde(default)]
    pub custom_error_message: Option<String>,
    #[serde(default)]
    pub links: Links,
}
