//! Another name for an app.

use api_types::{App, UpdateApp};
use serde_json::json;

use super::done;
use crate::context::Context;
use crate::error::Outcome;

/// Give an app another name; its routes stay, and it runs on
#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    pub(crate) app: String,
    pub(crate) new_name: String,
}

impl Rename {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let request = UpdateApp {
            name: Some(self.new_name),
            ..UpdateApp::default()
        };
        let path = format!("/v3/apps/{}", app.guid);
        let renamed: App = cx.client.patch(&path, &request).await?;
        let said = format!("{} is {} now", app.name, renamed.name);
        done(cx, json!({"app": renamed.name, "was": app.name}), said)
    }
}
