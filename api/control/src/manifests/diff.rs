//! What applying a manifest would change.

use model::health::HealthCheckKind;
use model::ids::SpaceId;
use model::manifest::{Manifest, ProcessSettings};
use serde_json::{Value, json};
use store::records::Process;

use super::unreadable;
use crate::{Actor, Control, Result};

/// One change that a manifest would make, as Cloud Foundry's `manifest_diff` tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestDiff {
    /// `add`, `remove` or `replace`.
    pub op: &'static str,
    /// For example `/applications/0/memory`.
    pub path: String,
    pub was: Option<Value>,
    pub value: Option<Value>,
}

impl Control {
    /// What applying would change. Values of env are not part of it: they are secrets.
    pub async fn manifest_diff(
        &self,
        _: &Actor,
        space: SpaceId,
        yaml: &str,
    ) -> Result<Vec<ManifestDiff>> {
        self.space_of(space).await?;
        let manifest = Manifest::parse(yaml).map_err(unreadable)?;
        let mut diffs = Vec::new();
        for (index, wanted) in manifest.applications.iter().enumerate() {
            let at = |key: &str| format!("/applications/{index}/{key}");
            let name = wanted.name.clone().unwrap_or_default();
            let Some(app) = self.store().find_app_by_name(space, &name).await? else {
                diffs.push(ManifestDiff {
                    op: "add",
                    path: at("name"),
                    was: None,
                    value: Some(json!(name)),
                });
                let switches = [
                    ("default-route", wanted.default_route),
                    ("no-route", wanted.no_route),
                    ("random-route", wanted.random_route),
                ];
                let switches = switches
                    .into_iter()
                    .filter_map(|(key, wish)| Some((key, json!(wish?))));
                for (key, value) in settings(&wanted.web).into_iter().chain(switches) {
                    diffs.push(ManifestDiff {
                        op: "add",
                        path: at(key),
                        was: None,
                        value: Some(value),
                    });
                }
                continue;
            };
            let processes = self.processes_of(app.id).await?;
            if let Some(web) = processes
                .iter()
                .find(|process| process.process_type == "web")
            {
                let known = present(web);
                for (key, value) in settings(&wanted.web) {
                    let was = known
                        .iter()
                        .find(|(known, _)| *known == key)
                        .map(|(_, value)| value.clone());
                    match was {
                        Some(was) if was == value => {}
                        Some(was) => diffs.push(ManifestDiff {
                            op: "replace",
                            path: at(key),
                            was: Some(was),
                            value: Some(value),
                        }),
                        None => diffs.push(ManifestDiff {
                            op: "add",
                            path: at(key),
                            was: None,
                            value: Some(value),
                        }),
                    }
                }
            }
        }
        Ok(diffs)
    }
}

/// The settings of a process that a diff shows, as a manifest writes them.
fn settings(settings: &ProcessSettings) -> Vec<(&'static str, Value)> {
    let mut shown = Vec::new();
    let mut show = |key, value: Option<Value>| shown.extend(value.map(|value| (key, value)));
    show("command", settings.command.set().map(|value| json!(value)));
    show(
        "instances",
        settings.instances.set().map(|value| json!(value)),
    );
    show(
        "memory",
        settings.memory.set().map(|value| json!(value.to_string())),
    );
    show(
        "disk_quota",
        settings
            .disk_quota
            .set()
            .map(|value| json!(value.to_string())),
    );
    show(
        "health-check-type",
        settings
            .health_check_type
            .set()
            .map(|value| json!(value.name())),
    );
    show("timeout", settings.timeout.set().map(|value| json!(value)));
    shown
}

fn present(process: &Process) -> Vec<(&'static str, Value)> {
    let kind = match process.health.kind {
        HealthCheckKind::Port => "port",
        HealthCheckKind::Http { .. } => "http",
        HealthCheckKind::Process => "process",
    };
    let mut shown = vec![
        ("instances", json!(process.instances)),
        ("memory", json!(process.memory.to_string())),
        ("disk_quota", json!(process.disk.to_string())),
        ("health-check-type", json!(kind)),
        ("timeout", json!(process.health.start_timeout.as_secs())),
    ];
    shown.extend(
        process
            .command
            .as_ref()
            .map(|command| ("command", json!(command))),
    );
    shown
}
