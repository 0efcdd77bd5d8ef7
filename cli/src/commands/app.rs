//! One app: what it is, and what each instance does.

use api_types::{
    App, AppState, Droplet, InstanceState, InstanceStats, Process, ProcessStats, Route,
};
use model::limits::Megabytes;
use serde_json::json;

use super::apps::state;
use crate::context::Context;
use crate::error::Outcome;
use crate::ui::{Table, rough, size};

/// Show an app with its instances
#[derive(Debug, clap::Args)]
pub(crate) struct AppCommand {
    pub(crate) app: String,
    /// Print the app's GUID and nothing else
    #[arg(long)]
    pub(crate) guid: bool,
}

impl AppCommand {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        if self.guid {
            return cx
                .ui
                .answer(|| json!({"guid": app.guid}), |ui| ui.data(&app.guid));
        }
        show(cx, &app).await
    }
}

/// The summary that `cf` also prints after a change.
pub(super) async fn show(cx: &Context, app: &App) -> Outcome {
    let mut processes = Vec::new();
    for listed in cx.processes(&app.guid).await? {
        // Lists hide the command.
        let process: Process = cx
            .client
            .get(&format!("/v3/processes/{}", listed.guid))
            .await?;
        let stats: ProcessStats = cx
            .client
            .get(&format!("/v3/processes/{}/stats", listed.guid))
            .await?;
        processes.push((process, stats.resources));
    }
    processes.sort_by_key(|(process, _)| (process.kind != "web", process.kind.clone()));
    let routes = cx.app_routes(&app.guid).await?;
    let droplet = match cx
        .client
        .get::<Droplet>(&format!("/v3/apps/{}/droplets/current", app.guid))
        .await
    {
        Ok(droplet) => Some(droplet),
        Err(error) if error.code == "E-NOTFOUND" => None,
        Err(error) => return Err(error),
    };
    cx.ui.answer(
        || {
            let process = |(process, stats): &(Process, Vec<InstanceStats>)| json!({"process": process, "instances": stats});
            json!({"app": app, "routes": routes, "droplet": droplet, "processes": processes.iter().map(process).collect::<Vec<_>>()})
        },
        |ui| ui.data(text(app, &routes, droplet.as_ref(), &processes)),
    )
}

fn text(
    app: &App,
    routes: &[Route],
    droplet: Option<&Droplet>,
    processes: &[(Process, Vec<InstanceStats>)],
) -> String {
    let urls: Vec<_> = routes.iter().map(|route| route.url.as_str()).collect();
    let mut lines = vec![
        format!("name:             {}", app.name),
        format!("requested state:  {}", state(app.state)),
        format!("routes:           {}", urls.join(", ")),
    ];
    if let Some(droplet) = droplet {
        let buildpack = |used: &api_types::DropletBuildpack| {
            [Some(used.name.as_str()), used.version.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ")
        };
        let buildpacks: Vec<_> = droplet.buildpacks.iter().flatten().map(buildpack).collect();
        lines.push(format!("last built:       {}", droplet.created_at));
        lines.push(format!(
            "stack:            {}",
            droplet.stack.as_deref().unwrap_or_default()
        ));
        lines.push(format!("buildpacks:       {}", buildpacks.join(", ")));
    } else {
        lines.push("droplet:          none yet; slipway push".to_owned());
    }
    for (process, instances) in processes {
        let running = instances
            .iter()
            .filter(|instance| instance.state == InstanceState::Running)
            .count();
        lines.push(String::new());
        lines.push(format!("type:             {}", process.kind));
        lines.push(format!("instances:        {running}/{}", process.instances));
        lines.push(format!(
            "memory:           {}",
            Megabytes(process.memory_in_mb)
        ));
        if let Some(command) = process
            .command
            .as_deref()
            .filter(|command| !command.is_empty())
        {
            lines.push(format!("start command:    {}", crate::logs::clean(command)));
        }
        if app.state == AppState::Started && !instances.is_empty() {
            lines.push(table(instances));
        }
    }
    lines.join("\n")
}

fn table(instances: &[InstanceStats]) -> String {
    let mut table = Table::new(&["", "state", "since", "cpu", "memory", "disk", "details"]);
    let of = |used: Option<u64>, limit: Option<u64>| match (used, limit) {
        (Some(used), Some(limit)) => format!("{} of {}", size(used), size(limit)),
        (None, Some(limit)) => format!("? of {}", size(limit)),
        (used, None) => used.map(size).unwrap_or_default(),
    };
    for instance in instances {
        let usage = instance.usage.clone().unwrap_or_default();
        let state = format!("{:?}", instance.state).to_lowercase();
        let since = instance
            .uptime
            .filter(|_| instance.state == InstanceState::Running)
            .map(rough)
            .unwrap_or_default();
        let cpu = usage
            .cpu
            .map(|cpu| format!("{:.1}%", cpu * 100.0))
            .unwrap_or_default();
        let details = instance
            .details
            .as_deref()
            .and_then(|details| details.lines().next())
            .unwrap_or_default();
        table.row([
            format!("#{}", instance.index),
            state,
            since,
            cpu,
            of(usage.mem, instance.mem_quota),
            of(usage.disk, instance.disk_quota),
            details.to_owned(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use api_types::{DropletBuildpack, Usage};

    use super::*;

    #[test]
    fn an_app_is_shown_as_cf_shows_it() {
        let app = App {
            name: "hello".into(),
            state: AppState::Started,
            ..App::default()
        };
        let route = Route {
            url: "hello.localhost:8080".into(),
            ..Route::default()
        };
        let used = DropletBuildpack {
            name: "java".into(),
            version: Some("1.0".into()),
            ..DropletBuildpack::default()
        };
        let droplet = Droplet {
            created_at: "2026-11-24T15:00:00Z".into(),
            stack: Some("host".into()),
            buildpacks: Some(vec![used]),
            ..Droplet::default()
        };
        let process = Process {
            kind: "web".into(),
            instances: 2,
            memory_in_mb: 512,
            command: Some("java -cp . Main".into()),
            ..Process::default()
        };
        let running = InstanceStats {
            state: InstanceState::Running,
            uptime: Some(7300),
            mem_quota: Some(512 << 20),
            usage: Some(Usage {
                cpu: Some(0.021),
                mem: Some(36_280_730),
                ..Usage::default()
            }),
            ..InstanceStats::default()
        };
        let crashed = InstanceStats {
            index: 1,
            state: InstanceState::Crashed,
            details: Some("exited with 1 after 0.8 s\nline".into()),
            ..InstanceStats::default()
        };
        insta::assert_snapshot!(text(&app, &[route], Some(&droplet), &[(process, vec![running, crashed])]), @r"
        name:             hello
        requested state:  started
        routes:           hello.localhost:8080
        last built:       2026-11-24T15:00:00Z
        stack:            host
        buildpacks:       java 1.0

        type:             web
        instances:        1/2
        memory:           512M
        start command:    java -cp . Main
            state    since  cpu   memory         disk  details
        #0  running  2 h    2.1%  34.6M of 512M
        #1  crashed                                    exited with 1 after 0.8 s
        ");
    }
}
