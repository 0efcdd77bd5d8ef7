//! Parts that many resources have: links, relationships, metadata, lifecycle.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Follow-up addresses of a resource by name. Always absolute.
pub type Links = BTreeMap<String, Link>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Link {
    pub href: String,
    /// Where it is not GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

impl Link {
    pub fn to(href: impl Into<String>) -> Self {
        Self {
            href: href.into(),
            method: None,
        }
    }

    pub fn post(href: impl Into<String>) -> Self {
        Self {
            href: href.into(),
            method: Some("POST".into()),
        }
    }
}

/// A bare reference: `{"guid": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Ref {
    pub guid: String,
}

impl Ref {
    pub fn new(guid: impl Into<String>) -> Self {
        Self { guid: guid.into() }
    }
}

/// A relationship to at most one resource: `{"data": {"guid": "…"}}` or `{"data": null}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToOne {
    pub data: Option<Ref>,
}

impl ToOne {
    pub fn to(guid: impl Into<String>) -> Self {
        Self {
            data: Some(Ref::new(guid)),
        }
    }

    #[must_use]
    pub const fn none() -> Self {
        Self { data: None }
    }

    #[must_use]
    pub fn guid(&self) -> Option<&str> {
        self.data.as_ref().map(|data| data.guid.as_str())
    }
}

/// A relationship to any number of resources: `{"data": [{"guid": "…"}]}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToMany {
    #[serde(default)]
    pub data: Vec<Ref>,
}

/// `{"app": {"data": {"guid": "…"}}}`: what most resources of an app carry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AppRelationship {
    pub app: ToOne,
}

impl AppRelationship {
    pub fn to(guid: impl Into<String>) -> Self {
        Self {
            app: ToOne::to(guid),
        }
    }
}

/// `{"space": {"data": {"guid": "…"}}}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SpaceRelationship {
    pub space: ToOne,
}

impl SpaceRelationship {
    pub fn to(guid: impl Into<String>) -> Self {
        Self {
            space: ToOne::to(guid),
        }
    }
}

/// Labels and annotations. In a request a `null` value removes its key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metadata {
    #[serde(default)]
    pub labels: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub annotations: BTreeMap<String, Option<String>>,
}

/// How source becomes a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lifecycle {
    /// `buildpack`, `cnb` or `docker`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub data: LifecycleData,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LifecycleData {
    /// Names in order; empty means detection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buildpacks: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

impl Lifecycle {
    /// The `buildpack` lifecycle.
    #[must_use]
    pub fn buildpack(buildpacks: Vec<String>, stack: Option<String>) -> Self {
        Self {
            kind: "buildpack".into(),
            data: LifecycleData {
                buildpacks: Some(buildpacks),
                stack,
            },
        }
    }
}

/// For fields where absent, `null` and a value are three different wishes: absent is `None` (with `default`), `null` is
/// `Some(None)`.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
