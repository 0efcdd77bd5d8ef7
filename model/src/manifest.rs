//! `manifest.yml`: what a push should make of an app.
//!
//! All attributes of Cloud Foundry's manifests are read, also those that the platform cannot do yet: whoever applies a
//! manifest decides what to support, and says so with [`AppManifest::position`]. A key that Cloud Foundry does not know
//! is an error that names the nearest one, because a typing error that is silently ignored costs an afternoon.
//!
//! The way of a text is [`node`] (YAML → tree with positions, bounded) → [`vars`] (`((name))` replaced) → [`read`] (tree →
//! these types) → [`write`] (types → the YAML that `apply_manifest` takes). An explicit `null` means "back to the
//! default" and stays apart from an absent key; see [`Setting`].

mod error;
mod keys;
mod node;
mod read;
#[cfg(test)]
mod tests;
mod vars;
mod write;

use std::collections::BTreeMap;

pub use error::{ManifestError, Position};
pub use keys::nearest;
pub use vars::Vars;

use crate::limits::Megabytes;
use crate::secret::Secret;

/// Bytes of text beyond which a manifest is refused; Cloud Foundry's limit.
pub const MAX_BYTES: usize = 1024 * 1024;

/// A whole manifest.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// Cloud Foundry knows only 1.
    pub version: Option<u32>,
    pub applications: Vec<AppManifest>,
}

impl Manifest {
    /// Reads a manifest and leaves `((name))` as it stands. Servers use this: clients substitute.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        read::manifest(&node::parse(text)?, text)
    }

    /// Reads a manifest and replaces every `((name))`. A name without a value is an error, and so is a manifest that could
    /// not be sent: one whose [`Self::to_yaml`] has more than [`MAX_BYTES`].
    pub fn parse_with_vars(text: &str, vars: &Vars) -> Result<Self, ManifestError> {
        let mut root = node::parse(text)?;
        vars::substitute(&mut root, vars, text)?;
        let manifest = read::manifest(&root, text)?;
        let written = manifest.to_yaml().len();
        if written > MAX_BYTES {
            let message = format!(
                "the manifest has {written} bytes when its aliases and variables are replaced; at most {MAX_BYTES} are read"
            );
            return Err(ManifestError::at("", root.position, message));
        }
        Ok(manifest)
    }

    /// The YAML that `apply_manifest` and `manifest_diff` take. Reading it gives this manifest again, as long as it has no
    /// more than [`MAX_BYTES`].
    #[must_use]
    pub fn to_yaml(&self) -> String {
        write::yaml(self)
    }
}

/// A value that a manifest may set, reset with `null`, or not mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Setting<T> {
    /// The manifest does not mention it.
    #[default]
    Keep,
    /// `null`: back to the default of the platform or buildpack.
    Reset,
    Set(T),
}

impl<T> Setting<T> {
    pub const fn set(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Reset => None,
        }
    }

    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// Absent → `None`, `null` → `Some(None)`, a value → `Some(Some(value))`.
    pub fn into_wish(self) -> Option<Option<T>> {
        match self {
            Self::Keep => None,
            Self::Reset => Some(None),
            Self::Set(value) => Some(Some(value)),
        }
    }
}

impl<T> From<T> for Setting<T> {
    fn from(value: T) -> Self {
        Self::Set(value)
    }
}

/// One entry of `applications`.
#[derive(Debug, Clone, Default)]
pub struct AppManifest {
    /// Absent only where a flag or the directory gives the name.
    pub name: Option<String>,
    /// As written; relative to the manifest's folder. Of interest to the client only.
    pub path: Option<String>,
    /// Settings of the `web` process.
    pub web: ProcessSettings,
    /// In order; an empty list means detection, as `Reset` does.
    pub buildpacks: Setting<Vec<String>>,
    pub stack: Setting<String>,
    /// A `null` value unsets its name. Scalars keep their text as written.
    pub env: BTreeMap<String, Option<Secret<String>>>,
    pub routes: Option<Vec<RouteManifest>>,
    pub no_route: Option<bool>,
    pub random_route: Option<bool>,
    pub default_route: Option<bool>,
    pub services: Vec<ServiceManifest>,
    pub docker: Option<DockerManifest>,
    /// `buildpack`, `cnb` or `docker`.
    pub lifecycle: Option<String>,
    pub processes: Vec<ProcessManifest>,
    pub sidecars: Vec<SidecarManifest>,
    pub metadata: Option<MetadataManifest>,
    /// App features such as `ssh` and `revisions`.
    pub features: BTreeMap<String, bool>,
    positions: Vec<(String, Position)>,
}

impl AppManifest {
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// Where `key` stands in the text, for errors of whoever applies the manifest.
    #[must_use]
    pub fn position(&self, key: &str) -> Option<Position> {
        self.positions
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, position)| *position)
    }

    /// The name, for messages.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or("(without a name)")
    }
}

/// What can be said of any process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessSettings {
    pub command: Setting<String>,
    pub instances: Setting<u32>,
    pub memory: Setting<Megabytes>,
    pub disk_quota: Setting<Megabytes>,
    /// Bytes per second; -1 means unlimited.
    pub log_rate_limit: Setting<i64>,
    pub health_check_type: Setting<CheckType>,
    pub health_check_http_endpoint: Setting<String>,
    /// Seconds.
    pub health_check_invocation_timeout: Setting<u32>,
    /// Seconds.
    pub health_check_interval: Setting<u32>,
    /// Seconds until an instance must be healthy.
    pub timeout: Setting<u32>,
    pub readiness_health_check_type: Setting<CheckType>,
    pub readiness_health_check_http_endpoint: Setting<String>,
    /// Seconds.
    pub readiness_health_check_invocation_timeout: Setting<u32>,
    /// Seconds.
    pub readiness_health_check_interval: Setting<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckType {
    Port,
    Http,
    /// Also written `none`, as long ago.
    Process,
}

impl CheckType {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Http => "http",
            Self::Process => "process",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteManifest {
    /// Host, domain and path, for example `shop.example.com/admin`.
    pub route: String,
    /// `http1`, `http2` or `tcp`.
    pub protocol: Option<String>,
    pub options: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceManifest {
    pub name: String,
    pub binding_name: Option<String>,
    pub parameters: Option<Secret<serde_json::Map<String, serde_json::Value>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerManifest {
    pub image: String,
    pub username: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessManifest {
    /// The process type.
    pub kind: String,
    pub settings: ProcessSettings,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarManifest {
    pub name: String,
    pub process_types: Vec<String>,
    pub command: String,
    pub memory: Option<Megabytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetadataManifest {
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
}
