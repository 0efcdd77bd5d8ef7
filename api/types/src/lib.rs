//! The JSON of Cloud Foundry's v3 API, of its UAA tokens and of log-cache, as far as Slipway speaks it.
//!
//! Server and client share these shapes, so every type can be written and read. Nothing here decides anything: no
//! defaults of the platform, no permissions, no I/O. Fields that Cloud Foundry leaves out are `Option`s that vanish when
//! empty; fields it writes as `null` are `Option`s that stay. Timestamps are RFC 3339 texts, GUIDs are texts. Values that
//! may be secrets (env, credentials, passwords, tokens) are [`model::secret::Secret`]s, so `Debug` never shows them.
//!
//! One file per resource; start with [`App`], then [`Page`] and [`Errors`], which every call may answer with. The texts by
//! which the `cf` command tells one failure from another are in [`details`].

mod app;
mod audit_event;
mod build;
mod buildpack;
mod collection;
mod common;
mod credential_binding;
mod deployment;
pub mod details;
mod domain;
mod droplet;
mod environment;
mod errors;
mod feature_flag;
mod job;
mod log_cache;
mod manifest_diff;
mod organization;
mod package;
mod page;
mod process;
mod process_stats;
mod resource_match;
mod revision;
mod role;
mod root;
mod route;
mod service_instance;
mod space;
mod stack;
mod task;
mod token;
mod user;

pub use app::*;
pub use audit_event::*;
pub use build::*;
pub use buildpack::*;
pub use collection::*;
pub use common::*;
pub use credential_binding::*;
pub use deployment::*;
pub use domain::*;
pub use droplet::*;
pub use environment::*;
pub use errors::*;
pub use feature_flag::*;
pub use job::*;
pub use log_cache::*;
pub use manifest_diff::*;
pub use organization::*;
pub use package::*;
pub use page::*;
pub use process::*;
pub use process_stats::*;
pub use resource_match::*;
pub use revision::*;
pub use role::*;
pub use root::*;
pub use route::*;
pub use service_instance::*;
pub use space::*;
pub use stack::*;
pub use task::*;
pub use token::*;
pub use user::*;

#[cfg(test)]
mod tests;
