//! Roles: what a user may do in an organization or space.

use serde::{Deserialize, Serialize};

use crate::{Links, Ref, ToOne};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Role {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    /// `organization_manager`, `space_developer`, …
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub relationships: RoleRelationships,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoleRelationships {
    #[serde(default)]
    pub user: ToOne,
    #[serde(default)]
    pub organization: ToOne,
    #[serde(default)]
    pub space: ToOne,
}

/// Body of `POST /v3/roles`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateRole {
    #[serde(rename = "type")]
    pub kind: String,
    pub relationships: CreateRoleRelationships,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateRoleRelationships {
    pub user: RoleUser,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<ToOne>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<ToOne>,
}

/// A user by GUID, or by name and origin: `cf` sends the latter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoleUser {
    pub data: RoleUserData,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoleUserData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl From<Ref> for RoleUserData {
    fn from(user: Ref) -> Self {
        Self {
            guid: Some(user.guid),
            ..Self::default()
        }
    }
}
