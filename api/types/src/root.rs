//! `GET /`: where everything is.

use serde::{Deserialize, Serialize};

use crate::Links;

/// The root document. `cf` reads it once, at `cf api` or `cf login`, and keeps the links.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootDocument {
    pub links: RootLinks,
}

/// A link that is not there is `null`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootLinks {
    #[serde(rename = "self", default)]
    pub root: Option<RootLink>,
    #[serde(default)]
    pub cloud_controller_v2: Option<RootLink>,
    #[serde(default)]
    pub cloud_controller_v3: Option<RootLink>,
    #[serde(default)]
    pub network_policy_v0: Option<RootLink>,
    #[serde(default)]
    pub network_policy_v1: Option<RootLink>,
    #[serde(default)]
    pub login: Option<RootLink>,
    #[serde(default)]
    pub uaa: Option<RootLink>,
    #[serde(default)]
    pub credhub: Option<RootLink>,
    #[serde(default)]
    pub routing: Option<RootLink>,
    #[serde(default)]
    pub logging: Option<RootLink>,
    #[serde(default)]
    pub log_cache: Option<RootLink>,
    #[serde(default)]
    pub log_stream: Option<RootLink>,
    #[serde(default)]
    pub app_ssh: Option<RootLink>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootLink {
    pub href: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<RootMeta>,
}

impl RootLink {
    pub fn to(href: impl Into<String>) -> Self {
        Self {
            href: href.into(),
            meta: None,
        }
    }

    pub fn with_version(href: impl Into<String>, version: impl Into<String>) -> Self {
        let meta = RootMeta {
            version: Some(version.into()),
            ..RootMeta::default()
        };
        Self {
            href: href.into(),
            meta: Some(meta),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootMeta {
    /// Of `cloud_controller_v3`; it decides which calls `cf` makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Of `app_ssh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key_fingerprint: Option<String>,
    /// Of `app_ssh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth_client: Option<String>,
}

/// `GET /v3`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct V3Root {
    pub links: Links,
}

/// `GET /v3/info`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Info {
    #[serde(default)]
    pub build: String,
    #[serde(default)]
    pub cli_version: CliVersion,
    #[serde(default)]
    pub custom: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub version: u64,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CliVersion {
    #[serde(default)]
    pub minimum: String,
    #[serde(default)]
    pub recommended: String,
}
