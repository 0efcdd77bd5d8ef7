//! Jobs: the `Location` of calls that finish later.

use serde::{Deserialize, Serialize};

use crate::{ErrorEntry, Links};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Job {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    /// For example `app.delete` or `space.apply_manifest`.
    #[serde(default)]
    pub operation: String,
    pub state: JobState,
    /// Never empty when the state is `FAILED`: `cf` reads the first one.
    #[serde(default)]
    pub errors: Vec<ErrorEntry>,
    #[serde(default)]
    pub warnings: Vec<JobWarning>,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    #[default]
    Processing,
    Polling,
    Complete,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobWarning {
    pub detail: String,
}
