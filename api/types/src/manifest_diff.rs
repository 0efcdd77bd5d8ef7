//! What applying a manifest would change.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Answer to `POST /v3/spaces/G/manifest_diff`, whose body is the manifest as YAML.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ManifestDiff {
    pub diff: Vec<ManifestChange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ManifestChange {
    pub op: ManifestOp,
    /// A JSON pointer into the manifest, for example `/applications/0/memory`.
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManifestOp {
    #[default]
    Add,
    Remove,
    Replace,
}
