//! Which files of a push the space already has.

use serde::{Deserialize, Serialize};

/// Body of, and answer to, `POST /v3/resource_matches`; also the `resources` part of an upload. The answer repeats the
/// entries whose content the space has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourceMatches {
    pub resources: Vec<ResourceMatch>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ResourceMatch {
    pub checksum: ResourceChecksum,
    pub size_in_bytes: u64,
    /// Relative, with `/`.
    #[serde(default)]
    pub path: String,
    /// Octal permission bits without a leading type or zero, for example `644`.
    #[serde(default)]
    pub mode: String,
}

/// SHA-1, as `cf` sends it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ResourceChecksum {
    /// 40 hex digits.
    pub value: String,
}

/// Most entries in one call.
pub const MAX_RESOURCES_PER_CALL: usize = 5000;
