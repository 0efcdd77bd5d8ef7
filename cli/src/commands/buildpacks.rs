//! The buildpacks that the platform offers.

use api_types::Buildpack;
use serde_json::json;

use crate::client::Query;
use crate::context::Context;
use crate::error::Outcome;
use crate::ui::Table;

/// List the buildpacks, in the order in which they look at an app
#[derive(Debug, clap::Args)]
pub(crate) struct Buildpacks {}

pub(crate) async fn run(cx: &Context) -> Outcome {
    let mut buildpacks: Vec<Buildpack> = cx.client.list(Query::of("/v3/buildpacks")).await?;
    buildpacks.sort_by_key(|buildpack| buildpack.position);
    cx.ui.answer(
        || {
            buildpacks
                .iter()
                .map(|buildpack| json!(buildpack))
                .collect()
        },
        |ui| {
            let mut table = Table::new(&[
                "position", "name", "stack", "enabled", "locked", "state", "filename",
            ]);
            for buildpack in &buildpacks {
                table.row([
                    buildpack.position.to_string(),
                    buildpack.name.clone(),
                    buildpack.stack.clone().unwrap_or_default(),
                    buildpack.enabled.to_string(),
                    buildpack.locked.to_string(),
                    buildpack.state.clone(),
                    buildpack.filename.clone().unwrap_or_default(),
                ]);
            }
            ui.data(table.render())
        },
    )
}
