//! A droplet: an image of content-addressed layers over a stack, with the commands that start its processes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What a droplet's layers stand on. A droplet runs only on cells that offer its stack.
///
/// `host-<hash>` is the host's own read-only `/usr`: the hash covers architecture, libc, os-release and toolchain
/// versions, so such a droplet stays on hosts that look the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stack(pub String);

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a layer exists; layers that change seldom lie lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerKind {
    Runtime,
    Dependencies,
    App,
}

/// One layer: a reproducible tar whose paths are relative to `/home/vcap`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layer {
    pub kind: LayerKind,
    /// SHA-256 of the uncompressed tar; the layer's identity.
    pub diff_id: Digest,
    /// Bytes of the uncompressed tar.
    pub size: u64,
    /// Bytes of the zstd form that cells transfer.
    pub compressed_size: u64,
}

/// The buildpack that made a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedBuildpack {
    pub name: String,
    pub version: String,
    /// What it found, for people: `Maven project, Java 17`.
    pub detected: String,
}

/// The result of a successful build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub stack: Stack,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// Start command by process type. Run by `bash -c` in `/home/vcap/app`.
    pub process_types: BTreeMap<String, String>,
    pub buildpacks: Vec<UsedBuildpack>,
}

impl Image {
    /// The user's home in every container, as in Cloud Foundry.
    pub const HOME: &'static str = "/home/vcap";
    /// Where the app lies and where its processes start.
    pub const APP_DIR: &'static str = "/home/vcap/app";
    /// Most layers one droplet may have.
    pub const MAX_LAYERS: usize = 64;
}
