//! Handlers of the v3 API, one file a noun: extract, authorize, act, present.

pub(crate) mod absent;
pub(crate) mod apps;
pub(crate) mod bindings;
pub(crate) mod buildpacks;
pub(crate) mod builds;
pub(crate) mod collection;
pub(crate) mod deployments;
pub(crate) mod domains;
pub(crate) mod droplets;
pub(crate) mod environment;
pub(crate) mod environment_groups;
pub(crate) mod events;
pub(crate) mod feature_flags;
pub(crate) mod features;
pub(crate) mod jobs;
pub(crate) mod manifests;
pub(crate) mod orgs;
pub(crate) mod packages;
pub(crate) mod processes;
pub(crate) mod resource_matches;
pub(crate) mod revisions;
pub(crate) mod roles;
pub(crate) mod routes;
pub(crate) mod scaling;
pub(crate) mod service_instances;
pub(crate) mod spaces;
pub(crate) mod stacks;
pub(crate) mod stats;
pub(crate) mod tasks;
pub(crate) mod users;

mod included;
mod metadata;
