//! What a cell tells the lifecycle that runs inside a staging container, and what it reads back.
//!
//! The lifecycle is the command `slipway lifecycle build --spec FILE`. It prints the build's output, writes
//! `OUT/result.json` (a [`BuildResult`]) and `OUT/layers/<hex diff id>.tar.zst`, and exits 0 for every outcome it could
//! write. Its ground is untrusted: the cell checks sizes and digests of all it finds in `OUT`.
//!
//! An instance is started by `slipway lifecycle launch --home DIR -- COMMAND`, with `DIR` holding `app`, `deps`
//! and `profile.d`; the launcher makes `tmp`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::droplet::{Image, Stack};
use crate::limits::Megabytes;
use crate::task::StagingFailure;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildSpec {
    pub app_name: String,
    /// The source, a zip file.
    pub package: PathBuf,
    /// The folder that holds `app`, `deps`, `profile.d` and `tmp`: `/home/vcap` in a container. It is at the same
    /// place at launch, but under process isolation; start commands use `$HOME` and `$DEPS_DIR`.
    pub home: PathBuf,
    /// Kept between builds of the same app on the same cell.
    pub cache: PathBuf,
    pub out: PathBuf,
    /// In order; empty for detection over all.
    pub buildpacks: Vec<String>,
    pub stack: Stack,
    /// The build's own memory limit, from which buildpacks size their tools.
    pub memory: Megabytes,
    /// Most bytes that the unpacked source may take.
    pub max_source_bytes: u64,
    /// Maven settings with the host's mirrors and proxies, without credentials.
    pub maven_settings: Option<PathBuf>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum BuildResult {
    Built { image: Image },
    Failed { failure: StagingFailure },
}
