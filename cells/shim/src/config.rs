//! `DIR/config.json`: the part of the OCI runtime configuration that the shim obeys, and Slipway's own additions.
//!
//! The environment is not part of it: it holds secrets and travels over the start-up socket only, see
//! [`crate::protocol::Handover`].

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub const FILE: &str = "config.json";
pub const OCI_VERSION: &str = "1.2.0";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    pub oci_version: String,
    pub process: Process,
    /// Absent for a plain process without namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Absent for a plain process without namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    pub slipway: Extension,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    pub args: Vec<String>,
    pub cwd: String,
    /// Ignored for a plain process, which stays who the shim is.
    pub user: User,
    #[serde(default)]
    pub rlimits: Vec<Rlimit>,
    #[serde(default)]
    pub no_new_privileges: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

/// A limit, clamped to the inherited hard limit when it is set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rlimit {
    #[serde(rename = "type")]
    pub kind: RlimitKind,
    pub soft: u64,
    pub hard: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RlimitKind {
    #[serde(rename = "RLIMIT_NOFILE")]
    OpenFiles,
    #[serde(rename = "RLIMIT_NPROC")]
    Processes,
    #[serde(rename = "RLIMIT_FSIZE")]
    FileSize,
    #[serde(rename = "RLIMIT_CORE")]
    Core,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Root {
    pub path: PathBuf,
    pub readonly: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside.
    pub destination: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub source: String,
    #[serde(default)]
    pub options: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    pub namespaces: Vec<Namespace>,
    #[serde(default)]
    pub masked_paths: Vec<String>,
    #[serde(default)]
    pub readonly_paths: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    Pid,
    Mount,
    Ipc,
    Uts,
    Network,
    Cgroup,
}

/// What the OCI configuration has no word for. Other runtimes ignore it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extension {
    /// Folders of the container's cgroups, one per hierarchy, made and limited by the engine.
    #[serde(default)]
    pub cgroups: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The host's user and group that stand for `process.user` outside, by a user namespace of the container's own. Mounts
    /// with the option `idmap`, and the lower layers of an overlay, show files of `process.user` as theirs. Absent where
    /// the inside and the outside have the same users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer_user: Option<u32>,
    /// Byte budget of `logs/current` and `logs/previous` together.
    pub max_log_bytes: u64,
    /// Output in bytes per second beyond which lines are dropped; 0 drops all. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_log_rate: Option<u64>,
    #[serde(default)]
    pub disks: Disks,
}

/// File systems of the container's own, as detached mounts on the shim's standard streams. Each goes on a folder of the
/// host, seen by the container only; what lies below that folder is then bound like anything else.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Disks {
    /// The folder for the one that comes as standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<PathBuf>,
    /// The folder for the one that comes as standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
}

/// The inside of the container's one link, a point-to-point pair whose other end is the gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Network {
    pub interface: String,
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
}

impl Config {
    #[must_use]
    pub fn has_namespace(&self, kind: NamespaceKind) -> bool {
        self.linux.as_ref().is_some_and(|linux| {
            linux
                .namespaces
                .iter()
                .any(|namespace| namespace.kind == kind)
        })
    }
}
