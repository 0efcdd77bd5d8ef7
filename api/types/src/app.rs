//! Apps.

use serde::{Deserialize, Serialize};

use crate::{Lifecycle, Links, Metadata, SpaceRelationship, ToOne};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct App {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    pub name: String,
    /// The desired state, not what runs.
    #[serde(default)]
    pub state: AppState,
    #[serde(default)]
    pub lifecycle: Lifecycle,
    #[serde(default)]
    pub relationships: AppRelationships,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AppState {
    Started,
    #[default]
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AppRelationships {
    #[serde(default)]
    pub space: ToOne,
    #[serde(default)]
    pub current_droplet: ToOne,
}

/// Body of `POST /v3/apps`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateApp {
    pub name: String,
    pub relationships: SpaceRelationship,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_variables: Option<crate::EnvironmentMap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// Body of `PATCH /v3/apps/G`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpdateApp {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// Answer to `GET` and `PATCH /v3/apps/G/relationships/current_droplet`. The request's body is a [`ToOne`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CurrentDroplet {
    pub data: Option<crate::Ref>,
    #[serde(default)]
    pub links: Links,
}

/// Answer to `GET /v3/apps/G/features/NAME` and `…/ssh_enabled`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AppFeature {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub enabled: bool,
}
