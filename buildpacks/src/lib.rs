//! Turns source code into something that runs: the built-in buildpacks and the contract that they share.
//!
//! A buildpack looks at a source ([`Buildpack::detect`]), runs the tools of its language over it
//! ([`Buildpack::build`]) and says which folders become layers and which command starts the app. It never makes
//! archives, never talks to the platform and never decides what is stored: that is the `builder`'s work. Everything
//! here runs on untrusted ground, inside the staging container, and reads files that a stranger wrote: every reader
//! has a bound.
//!
//! Start with [`contract`], then [`java`].

pub mod contract;
pub mod java;
pub mod layer_cache;
pub mod output;
pub mod procfile;
pub mod source;

mod command;

#[cfg(feature = "fuzz")]
pub mod fuzz;

pub use contract::{BuildContext, BuildFailure, BuildOutput, Buildpack, Detection, LayerSource};
pub use source::Source;

/// The built-in buildpacks, in the order in which they look at a source.
#[must_use]
pub fn built_in() -> &'static [&'static dyn Buildpack] {
    &[&java::Java, &procfile::Procfile]
}

/// The built-in buildpack called `name`. The names Cloud Foundry users write (`java_buildpack`) are understood.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Buildpack> {
    let short = name
        .strip_suffix("_buildpack")
        .or_else(|| name.strip_suffix("-buildpack"))
        .unwrap_or(name);
    built_in()
        .iter()
        .copied()
        .find(|buildpack| buildpack.name() == short)
}
