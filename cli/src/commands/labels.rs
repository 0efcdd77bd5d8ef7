//! Labels of apps, which lists can be selected by.

use std::collections::BTreeMap;

use api_types::{App, Metadata, UpdateApp};
use serde_json::json;

use super::done;
use crate::context::Context;
use crate::error::Outcome;
use crate::push::pair;
use crate::ui::Table;

/// What the labels are of; `cf` has them of more.
#[derive(Debug, clap::Args)]
pub(crate) struct Labelled {
    /// app
    #[arg(value_name = "RESOURCE", value_parser = ["app"])]
    pub(crate) kind: String,
    /// Name of the app
    pub(crate) name: String,
}

/// Show the labels of an app
#[derive(Debug, clap::Args)]
pub(crate) struct Labels {
    #[command(flatten)]
    pub(crate) of: Labelled,
}

/// Set labels of an app
#[derive(Debug, clap::Args)]
pub(crate) struct SetLabel {
    #[command(flatten)]
    pub(crate) of: Labelled,
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,
}

/// Remove labels of an app
#[derive(Debug, clap::Args)]
pub(crate) struct UnsetLabel {
    #[command(flatten)]
    pub(crate) of: Labelled,
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
}

impl Labels {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.of.name).await?;
        let labels = app.metadata.labels;
        cx.ui.answer(
            || json!(labels),
            |ui| {
                if labels.is_empty() {
                    ui.say(format!("{} has no labels", app.name));
                    return Ok(());
                }
                let mut table = Table::new(&["key", "value"]);
                for (key, value) in &labels {
                    table.row([key.clone(), value.clone().unwrap_or_default()]);
                }
                ui.data(table.render())
            },
        )
    }
}

impl SetLabel {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let labels = self.labels.into_iter();
        change(
            cx,
            &self.of.name,
            labels.map(|(key, value)| (key, Some(value))).collect(),
        )
        .await
    }
}

impl UnsetLabel {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let keys = self.keys.into_iter().map(|key| (key, None));
        change(cx, &self.of.name, keys.collect()).await
    }
}

async fn change(cx: &Context, name: &str, labels: BTreeMap<String, Option<String>>) -> Outcome {
    let app = cx.app(name).await?;
    let request = UpdateApp {
        metadata: Some(Metadata {
            labels,
            ..Metadata::default()
        }),
        ..UpdateApp::default()
    };
    let path = format!("/v3/apps/{}", app.guid);
    let changed: App = cx.client.patch(&path, &request).await?;
    let said = format!("the labels of {} are changed", app.name);
    let json = json!({"app": app.name, "labels": changed.metadata.labels});
    done(cx, json, said)
}
