//! How many instances, and how large.

use api_types::{AppState, Process};
use model::limits::Megabytes;
use serde_json::json;

use super::{app, done};
use crate::client::path_part;
use crate::context::Context;
use crate::error::Outcome;
use crate::start;

/// Change or show the number and size of an app's instances
#[derive(Debug, clap::Args)]
pub(crate) struct Scale {
    pub(crate) app: String,
    /// Number of instances
    #[arg(short, long, value_name = "N")]
    pub(crate) instances: Option<u32>,
    /// Memory of one instance, such as 512M; restarts the app
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<Megabytes>,
    /// Disk of one instance, such as 1G; restarts the app
    #[arg(short = 'k', long, value_name = "SIZE")]
    pub(crate) disk: Option<Megabytes>,
    /// Process type
    #[arg(long, value_name = "TYPE", default_value = "web")]
    pub(crate) process: String,
    /// Do not ask before a restart
    #[arg(short, long)]
    pub(crate) force: bool,
}

impl Scale {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let request = api_types::Scale {
            instances: self.instances,
            memory_in_mb: self.memory.map(|memory| memory.0),
            disk_in_mb: self.disk.map(|disk| disk.0),
            log_rate_limit_in_bytes_per_second: None,
        };
        if request == api_types::Scale::default() {
            return app::show(cx, &app).await;
        }
        let restarts =
            (self.memory.is_some() || self.disk.is_some()) && app.state == AppState::Started;
        if restarts
            && !self.force
            && !cx
                .ui
                .confirm(&format!("This restarts {}. Go on?", app.name), "-f")
                .await?
        {
            return done(
                cx,
                json!({"app": app.name, "scaled": false}),
                "nothing was changed",
            );
        }
        let path = format!(
            "/v3/apps/{}/processes/{}/actions/scale",
            app.guid,
            path_part(&self.process)
        );
        let process: Process = cx.client.post(&path, &request).await?;
        if restarts {
            cx.act(&app, "stop").await?;
            cx.act(&app, "start").await?;
        }
        if app.state == AppState::Started {
            start::wait_until_started(cx, &app).await?;
        }
        let size = Megabytes(process.memory_in_mb);
        let said = format!(
            "{} {}: {} x {size}",
            app.name, self.process, process.instances
        );
        done(
            cx,
            json!({"app": app.name, "process": self.process, "instances": process.instances,
                   "memory_in_mb": process.memory_in_mb, "disk_in_mb": process.disk_in_mb}),
            said,
        )
    }
}
