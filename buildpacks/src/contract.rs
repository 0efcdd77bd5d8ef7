//! What a buildpack is given and what it hands back.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;

use model::droplet::LayerKind;
use model::limits::Megabytes;

use crate::layer_cache::LayerCache;
use crate::output::Output;
use crate::source::Source;

pub trait Buildpack: Sync + fmt::Debug {
    /// As users write it after `-b`.
    fn name(&self) -> &'static str;

    fn version(&self) -> &'static str;

    /// Whether the app's own build is this buildpack's work. Others only add to what such a buildpack made.
    fn builds(&self) -> bool;

    /// What [`Buildpack::detect`] looks for, in words for the person whose source nothing recognised.
    fn looks_for(&self) -> &'static [&'static str];

    /// Looks at the source without changing it.
    fn detect(&self, source: &Source) -> Detection;

    /// Builds the source in place. Also called without detection, when a user names this buildpack.
    ///
    /// # Errors
    /// A failed command or a source that cannot be built: results that the person who pushed reads. `Io` is the
    /// platform's own fault.
    fn build(&self, context: &mut BuildContext<'_>) -> Result<BuildOutput, BuildFailure>;
}

/// A buildpack's answer to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detection {
    /// It can build this; what it found, for people: `Maven project`.
    Found(String),
    NotFound,
    /// The source is of its language, but of a kind that it cannot build.
    Refused {
        message: String,
        hint: Option<String>,
    },
}

/// The surroundings of one build.
#[derive(Debug)]
pub struct BuildContext<'a> {
    /// The source, unpacked; becomes `app` in the droplet.
    pub source: Source,
    /// The folder that holds `app`, `deps` and `profile.d`. Its path may differ at launch.
    pub home: PathBuf,
    /// Kept between builds of this app.
    pub cache: PathBuf,
    pub layers: LayerCache,
    /// The build's own environment: the app's variables, those of the staging container, its `PATH`.
    pub env: BTreeMap<OsString, OsString>,
    /// What the build itself may use.
    pub memory: Megabytes,
    /// Maven settings with the host's mirrors and proxies.
    pub maven_settings: Option<PathBuf>,
    pub output: &'a mut Output,
}

impl BuildContext<'_> {
    /// A variable's value, if it is set, not empty and text.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env
            .get(OsStr::new(name))
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty())
    }
}

/// What a successful build made.
#[derive(Debug, Clone, Default)]
pub struct BuildOutput {
    /// What was built, for people: `Maven project, Java 17`.
    pub detected: String,
    /// Layers besides the app itself.
    pub layers: Vec<LayerSource>,
    /// Start command by process type; commands reach their files through `$HOME` and `$DEPS_DIR` only.
    pub process_types: BTreeMap<String, String>,
    /// Archives outside the app folder that this build wrote, so that their entries' times are of no use.
    pub fresh_archives: Vec<PathBuf>,
}

/// Files that become one layer.
#[derive(Debug, Clone)]
pub struct LayerSource {
    pub kind: LayerKind,
    /// Files and folders, relative to the home folder.
    pub paths: Vec<PathBuf>,
    /// Left out of what lies below `paths`, relative to the home folder.
    pub except: Vec<PathBuf>,
    /// Names the content for good: a layer that the cache has under this key is used as it is, and `paths` need not exist.
    pub cache_key: Option<String>,
}

/// Why a buildpack gave no result.
#[derive(Debug, thiserror::Error)]
pub enum BuildFailure {
    #[error("'{command}' ended with status {status}")]
    Command {
        command: String,
        status: i32,
        ran_ms: u64,
        last_lines: Vec<String>,
    },
    #[error("{message}")]
    Refused {
        message: String,
        hint: Option<String>,
    },
    #[error("could not {action}")]
    Io { action: String, source: io::Error },
}

impl BuildFailure {
    /// A source that cannot be built, and what to do about it.
    #[must_use]
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Completes `could not …`, for use in `map_err`.
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
