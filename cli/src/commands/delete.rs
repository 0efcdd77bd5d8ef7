//! Deleting an app.

use http::Method;
use serde_json::json;

use super::done;
use crate::client::Call;
use crate::context::Context;
use crate::error::{CliError, Exit, Outcome};

/// Delete an app
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    pub(crate) app: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Delete its routes too
    #[arg(short, long)]
    pub(crate) routes: bool,
}

impl Delete {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let question = format!("Delete the app {}?", self.app);
        if !self.force && !cx.ui.confirm(&question, "-f").await? {
            return done(cx, json!({"deleted": null}), "nothing was deleted");
        }
        let Some(app) = cx.app_if_any(&self.app).await? else {
            // As in `cf`, what is already so is a success.
            return done(
                cx,
                json!({"deleted": null}),
                format!("there is no app {}", self.app),
            );
        };
        let routes = if self.routes {
            cx.app_routes(&app.guid).await?
        } else {
            vec![]
        };
        for route in &routes {
            if route
                .destinations
                .iter()
                .any(|destination| destination.app.guid != app.guid)
            {
                let message = format!("the route {} leads to other apps too", route.url);
                return Err(CliError::new("E-ROUTE", Exit::Conflict, message)
                    .hint(format!("slipway delete {} without -r", app.name)));
            }
        }
        let answer = cx
            .client
            .send(Call::new(
                Method::DELETE,
                cx.client.at(&format!("/v3/apps/{}", app.guid)),
            ))
            .await?;
        cx.client.finish(&answer).await?;
        for route in &routes {
            let answer = cx
                .client
                .delete(&format!("/v3/routes/{}", route.guid))
                .await?;
            cx.client.finish(&answer).await?;
        }
        let urls: Vec<_> = routes.iter().map(|route| route.url.as_str()).collect();
        done(
            cx,
            json!({"deleted": app.name, "routes": urls}),
            format!("{} is deleted", app.name),
        )
    }
}
