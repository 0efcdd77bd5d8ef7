//! What happened to an app, and who did it.

use api_types::{AuditEvent, Page};
use serde_json::{Value, json};

use crate::client::Query;
use crate::context::Context;
use crate::error::Outcome;
use crate::ui::Table;

/// Show what happened to an app, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    pub(crate) app: String,
}

/// What `cf` shows of an event's data.
const SHOWN: [&str; 11] = [
    "index",
    "reason",
    "cell_id",
    "exit_description",
    "exit_status",
    "recursive",
    "disk_quota",
    "instances",
    "memory",
    "state",
    "command",
];

impl Events {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let query = Query::of("/v3/audit_events")
            .with("order_by", "-created_at")
            .with("page", "1")
            .with("target_guids", &app.guid);
        let page: Page<AuditEvent> = cx.client.get(&query.build()).await?;
        cx.ui.answer(
            || page.resources.iter().map(|event| json!(event)).collect(),
            |ui| {
                if page.resources.is_empty() {
                    ui.say(format!("nothing has happened to {} yet", app.name));
                    return Ok(());
                }
                let mut table = Table::new(&["time", "event", "actor", "description"]);
                for event in &page.resources {
                    let actor = event
                        .actor
                        .name
                        .clone()
                        .unwrap_or_else(|| event.actor.guid.clone());
                    table.row([
                        event.created_at.clone(),
                        event.kind.clone(),
                        actor,
                        description(event),
                    ]);
                }
                ui.data(table.render())
            },
        )
    }
}

fn description(event: &AuditEvent) -> String {
    let data = event
        .data
        .get("request")
        .and_then(Value::as_object)
        .unwrap_or(&event.data);
    let shown = SHOWN.iter().filter_map(|key| {
        let value = data.get(*key)?;
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        Some(format!("{key}: {text}"))
    });
    shown.collect::<Vec<_>>().join(", ")
}
