//! One-off tasks of an app.

use model::secret::Secret;
use serde::{Deserialize, Serialize};

use crate::{AppRelationship, Links, Metadata, Ref};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Task {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Counts up from 1 within the app.
    #[serde(default)]
    pub sequence_id: u64,
    #[serde(default)]
    pub name: String,
    /// People write secrets into commands: lists over several apps leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Secret>,
    #[serde(default)]
    pub state: TaskState,
    #[serde(default)]
    pub memory_in_mb: u32,
    #[serde(default)]
    pub disk_in_mb: u32,
    /// -1 means unlimited.
    #[serde(default = "unlimited")]
    pub log_rate_limit_in_bytes_per_second: i64,
    #[serde(default)]
    pub result: TaskResult,
    #[serde(default)]
    pub droplet_guid: Option<String>,
    #[serde(default)]
    pub relationships: AppRelationship,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

const fn unlimited() -> i64 {
    -1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    #[default]
    Pending,
    Running,
    Succeeded,
    Canceling,
    Failed,
}

impl TaskState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Canceling => "CANCELING",
            Self::Failed => "FAILED",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskResult {
    /// Where the command ended by itself: `Exited with status N`.
    #[serde(default)]
    pub failure_reason: Option<String>,
}

/// Body of `POST /v3/apps/GUID/tasks`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateTask {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_in_mb: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_in_mb: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_rate_limit_in_bytes_per_second: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub droplet_guid: Option<String>,
    /// The process whose command and sizes the task takes where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TaskTemplate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskTemplate {
    pub process: Ref,
}

/// Body of `PATCH /v3/tasks/GUID`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpdateTask {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}
