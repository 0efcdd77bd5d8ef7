//! Domains under which routes live.

use serde::{Deserialize, Serialize};

use crate::{Links, Metadata, Ref, ToMany, ToOne};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Domain {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    pub name: String,
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub router_group: Option<Ref>,
    #[serde(default)]
    pub supported_protocols: Vec<String>,
    #[serde(default)]
    pub relationships: DomainRelationships,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

/// A domain without an organization is shared by all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DomainRelationships {
    #[serde(default)]
    pub organization: ToOne,
    #[serde(default)]
    pub shared_organizations: ToMany,
}

/// Body of `POST /v3/domains`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateDomain {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relationships: Option<DomainRelationships>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}
