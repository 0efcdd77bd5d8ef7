//! Releases of an app, and the way back to one.

use std::time::Instant;

use api_types::{AppRelationship, CreateDeployment, Page, Ref, Revision};
use serde_json::json;

use crate::client::Query;
use crate::context::Context;
use crate::deployment::{self, Reached, Rollout};
use crate::error::{CliError, Outcome};
use crate::ui::{Table, seconds};

/// Show the releases of an app, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Releases {
    pub(crate) app: String,
}

/// Go back to an earlier release, without a build
///
/// The earlier release's droplet, variables, bindings and settings become a new release. Instances are replaced one by
/// one; if the new ones do not start, the present ones stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    pub(crate) app: String,
    /// The release's number, as in 'slipway releases' [default: the one before the present one]
    #[arg(value_parser = number)]
    pub(crate) release: Option<u64>,
    #[command(flatten)]
    pub(crate) rollout: Rollout,
}

/// `7` or `v7`.
fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    digits
        .parse()
        .map_err(|_| format!("'{text}' is not a release's number, such as 7 or v7"))
}

impl Releases {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let releases = list(cx, &app.guid).await?;
        let live = live(cx, &app.guid).await?;
        cx.ui.answer(
            || {
                let one = |release: &Revision| json!({"release": release.version, "live": Some(release.version) == live,
                    "description": release.description, "created_at": release.created_at, "guid": release.guid});
                releases.iter().map(one).collect()
            },
            |ui| {
                if releases.is_empty() {
                    ui.say(format!("{} has no release yet", app.name));
                    return Ok(());
                }
                let mut table = Table::new(&["release", "live", "created", "description"]);
                for release in &releases {
                    let mark = if Some(release.version) == live { "live" } else { "" };
                    table.row([
                        format!("v{}", release.version),
                        mark.to_owned(),
                        release.created_at.clone(),
                        release.description.clone(),
                    ]);
                }
                ui.data(table.render())
            },
        )
    }
}

impl Rollback {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let began = Instant::now();
        let app = cx.app(&self.app).await?;
        let releases = list(cx, &app.guid).await?;
        let live = live(cx, &app.guid).await?;
        let rollout = self.rollout;
        let wanted = match self.release {
            Some(wanted) => releases.iter().find(|release| release.version == wanted),
            None => releases
                .iter()
                .find(|release| live.is_none_or(|live| release.version < live)),
        };
        let Some(wanted) = wanted else {
            let message = match self.release {
                Some(release) => format!("{} has no release v{release}", app.name),
                None => format!("{} has no earlier release", app.name),
            };
            return Err(CliError::not_found(message).hint(format!("slipway releases {}", app.name)));
        };
        cx.ui.step(
            "back",
            format!("to v{}  {}", wanted.version, wanted.description),
        );
        let request = CreateDeployment {
            revision: Some(Ref::new(&wanted.guid)),
            ..rollout.request(&app).unwrap_or_else(|| CreateDeployment {
                strategy: Some("rolling".to_owned()),
                relationships: AppRelationship::to(&app.guid),
                ..CreateDeployment::default()
            })
        };
        if let Reached::Paused(progress) = deployment::deploy(cx, &app, &request).await? {
            return deployment::paused(cx, &app, progress, began.elapsed());
        }
        let now = self::live(cx, &app.guid).await?;
        let release = now.map(|now| format!("v{now}")).unwrap_or_default();
        cx.ui.answer(
            || json!({"app": app.name, "release": now, "rolled_back_to": wanted.version}),
            |ui| {
                ui.data(format!(
                    "live {} release {release} (as v{}) {}",
                    app.name,
                    wanted.version,
                    seconds(began.elapsed())
                ))
            },
        )
    }
}

/// Newest first.
async fn list(cx: &Context, app: &str) -> Outcome<Vec<Revision>> {
    let query = Query::of(format!("/v3/apps/{app}/revisions")).with("order_by", "-created_at");
    cx.client.list(query).await
}

async fn live(cx: &Context, app: &str) -> Outcome<Option<u64>> {
    let page: Page<Revision> = cx
        .client
        .get(&format!("/v3/apps/{app}/revisions/deployed"))
        .await?;
    Ok(page.resources.iter().map(|release| release.version).max())
}
