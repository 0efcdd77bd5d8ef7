//! The droplets of an app.

use api_types::Droplet;
use serde_json::json;

use crate::client::Query;
use crate::context::Context;
use crate::error::Outcome;
use crate::ui::Table;

/// List the droplets of an app, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Droplets {
    pub(crate) app: String,
}

impl Droplets {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let query =
            Query::of(format!("/v3/apps/{}/droplets", app.guid)).with("order_by", "-created_at");
        let droplets: Vec<Droplet> = cx.client.list(query).await?;
        let current = app.relationships.current_droplet.guid();
        let is_current = |droplet: &Droplet| Some(droplet.guid.as_str()) == current;
        cx.ui.answer(
            || {
                let one = |droplet: &Droplet| {
                    json!({"droplet": droplet.guid, "current": is_current(droplet), "state": droplet.state,
                           "created_at": droplet.created_at})
                };
                droplets.iter().map(one).collect()
            },
            |ui| {
                if droplets.is_empty() {
                    ui.say(format!("{} has no droplet yet", app.name));
                    return Ok(());
                }
                let mut table = Table::new(&["droplet", "current", "state", "created"]);
                for droplet in &droplets {
                    table.row([
                        droplet.guid.clone(),
                        if is_current(droplet) { "current" } else { "" }.to_owned(),
                        format!("{:?}", droplet.state).to_lowercase(),
                        droplet.created_at.clone(),
                    ]);
                }
                ui.data(table.render())
            },
        )
    }
}
