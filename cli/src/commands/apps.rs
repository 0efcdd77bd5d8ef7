//! All apps of a space.

use std::collections::BTreeMap;

use api_types::{App, AppState, InstanceState, Process, Route};
use serde_json::json;

use crate::client::{GUIDS_PER_QUERY, Query};
use crate::context::Context;
use crate::error::Outcome;
use crate::ui::Table;

/// List the apps of the space
#[derive(Debug, clap::Args)]
pub(crate) struct Apps {}

pub(crate) async fn run(cx: &Context) -> Outcome {
    let space = cx.space_guid().await?;
    let query = Query::of("/v3/apps")
        .with("order_by", "name")
        .with("per_page", "5000")
        .with("space_guids", space);
    let apps: Vec<App> = cx.client.list(query).await?;
    let mut processes: BTreeMap<String, Vec<Process>> = BTreeMap::new();
    let mut routes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if !apps.is_empty() {
        let query = Query::of("/v3/processes")
            .with("embed", "process_instances")
            .with("per_page", "5000");
        for process in cx
            .client
            .list::<Process>(query.with("space_guids", space))
            .await?
        {
            processes
                .entry(
                    process
                        .relationships
                        .app
                        .guid()
                        .unwrap_or_default()
                        .to_owned(),
                )
                .or_default()
                .push(process);
        }
    }
    for batch in apps.chunks(GUIDS_PER_QUERY) {
        let guids: Vec<_> = batch.iter().map(|app| app.guid.as_str()).collect();
        let query = Query::of("/v3/routes")
            .with("per_page", "5000")
            .with("app_guids", guids.join(","));
        for route in cx.client.list::<Route>(query).await? {
            let mut to: Vec<_> = route
                .destinations
                .iter()
                .map(|destination| destination.app.guid.clone())
                .collect();
            to.sort();
            to.dedup();
            for app in to {
                routes.entry(app).or_default().push(route.url.clone());
            }
        }
    }
    let rows = apps.iter().map(|app| {
        let processes = processes.get(&app.guid).map_or(&[][..], Vec::as_slice);
        let routes = routes.get(&app.guid).map_or(&[][..], Vec::as_slice);
        (app, summary(processes), routes)
    });
    cx.ui.answer(
        || {
            let row = |(app, processes, routes): (&App, String, &[String])| {
                json!({"name": app.name, "guid": app.guid, "state": app.state, "processes": processes, "routes": routes})
            };
            rows.clone().map(row).collect()
        },
        |ui| {
            if apps.is_empty() {
                ui.say("no apps yet: slipway push");
                return Ok(());
            }
            let mut table = Table::new(&["name", "requested state", "processes", "routes"]);
            for (app, processes, routes) in rows.clone() {
                table.row([app.name.clone(), state(app.state).to_owned(), processes, routes.join(", ")]);
            }
            ui.data(table.render())
        },
    )
}

pub(super) fn state(state: AppState) -> &'static str {
    match state {
        AppState::Started => "started",
        AppState::Stopped => "stopped",
    }
}

/// `web:1/1, worker:0/0`, the web process first.
fn summary(processes: &[Process]) -> String {
    let mut sorted: Vec<_> = processes.iter().collect();
    sorted.sort_by_key(|process| (process.kind != "web", process.kind.clone()));
    let one = |process: &Process| {
        let running = process.process_instances.as_ref().map(|instances| {
            instances
                .iter()
                .filter(|instance| instance.state == InstanceState::Running)
                .count()
        });
        match running {
            Some(running) => format!("{}:{running}/{}", process.kind, process.instances),
            None => format!("{}:?/{}", process.kind, process.instances),
        }
    };
    sorted.into_iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_counted_and_web_stands_first() {
        let process = |kind: &str, states: Option<&[InstanceState]>| Process {
            kind: kind.into(),
            instances: 2,
            process_instances: states.map(|states| {
                let instance = |state: &InstanceState| api_types::ProcessInstance {
                    index: 0,
                    state: *state,
                    since: 0,
                };
                states.iter().map(instance).collect()
            }),
            ..Process::default()
        };
        let all = [
            process("clock", None),
            process(
                "web",
                Some(&[InstanceState::Running, InstanceState::Crashed]),
            ),
        ];
        assert_eq!(summary(&all), "web:1/2, clock:?/2");
    }
}
