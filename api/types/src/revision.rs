//! Revisions: the numbered releases of an app.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AppRelationship, Links, Metadata, Ref};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Revision {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Counts up from 1 within the app.
    pub version: u64,
    #[serde(default)]
    pub droplet: Ref,
    #[serde(default)]
    pub processes: BTreeMap<String, RevisionProcess>,
    /// What is new in it, for people.
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub deployable: bool,
    #[serde(default)]
    pub relationships: AppRelationship,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RevisionProcess {
    #[serde(default)]
    pub command: Option<String>,
}
