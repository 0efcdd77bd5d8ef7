//! Records → v3 JSON. Pure: the same record gives the same JSON.

mod apps;
mod bindings;
mod builds;
mod collection;
mod deployments;
mod domains;
mod droplets;
mod environment;
mod events;
mod jobs;
mod manifests;
mod orgs;
mod packages;
mod processes;
mod resource_matches;
mod revisions;
mod routes;
mod service_instances;
mod spaces;
mod stats;
mod tasks;
mod users;

#[cfg(test)]
mod tests;

use api_control::records;
use api_types::Metadata;

pub(crate) use apps::{app, current_droplet};
pub(crate) use bindings::{binding, binding_details};
pub(crate) use builds::build;
pub(crate) use collection::collection;
pub(crate) use deployments::deployment;
pub(crate) use domains::domain;
pub(crate) use droplets::{droplet, droplet_in_list};
pub(crate) use environment::{
    app_environment, environment_group, environment_variables, revision_environment,
};
pub(crate) use events::event;
pub(crate) use jobs::job;
pub(crate) use manifests::manifest_diff;
pub(crate) use orgs::org;
pub(crate) use packages::package;
pub(crate) use processes::{process, process_in_list};
pub(crate) use resource_matches::resource_match;
pub(crate) use revisions::revision;
pub(crate) use routes::{destinations, route};
pub(crate) use service_instances::service_instance;
pub(crate) use spaces::space;
pub(crate) use stats::{process_instance, stats};
pub(crate) use tasks::{task, task_in_list};
pub(crate) use users::{ORG_ROLES, SPACE_ROLES, org_roles, space_roles, user};

/// `2026-11-24T15:00:00Z`, from microseconds since the Unix epoch.
pub(crate) fn time(us: i64) -> String {
    let seconds = jiff::Timestamp::from_second(us.div_euclid(1_000_000))
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    seconds.to_string()
}

fn metadata(metadata: &records::Metadata) -> Metadata {
    let some = |map: &std::collections::BTreeMap<String, String>| {
        map.iter()
            .map(|(name, value)| (name.clone(), Some(value.clone())))
            .collect()
    };
    Metadata {
        labels: some(&metadata.labels),
        annotations: some(&metadata.annotations),
    }
}
