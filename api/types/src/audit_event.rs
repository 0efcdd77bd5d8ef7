//! Audit events: who did what, and what happened to an app.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Links, Ref};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditEvent {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    /// For example `audit.app.update` or `app.crash`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub actor: EventParty,
    #[serde(default)]
    pub target: EventParty,
    #[serde(default)]
    pub data: Map<String, Value>,
    #[serde(default)]
    pub space: Option<Ref>,
    #[serde(default)]
    pub organization: Option<Ref>,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventParty {
    pub guid: String,
    /// `user`, `process`, `app`, …
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub name: Option<String>,
}
