//! The manifest that an app as it is would have.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use http::Method;
use serde_json::json;

use super::done;
use crate::client::Call;
use crate::context::Context;
use crate::error::{CliError, Outcome};

/// Write a manifest with an app's present settings
///
/// The values of its environment variables stand in it; only you can read a file that is made anew.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateAppManifest {
    pub(crate) app: String,
    /// File to write [default: APP_manifest.yml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,
}

impl CreateAppManifest {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let address = cx.client.at(&format!("/v3/apps/{}/manifest", app.guid));
        let manifest = cx.client.send(Call::new(Method::GET, address)).await?;
        let path = self
            .path
            .unwrap_or_else(|| format!("{}_manifest.yml", app.name.replace('/', "_")).into());
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(&manifest.body))
            .map_err(|error| CliError::file(&path, "write", &error))?;
        let said = format!(
            "{} is written; slipway push -f {}",
            path.display(),
            path.display()
        );
        done(cx, json!({"app": app.name, "manifest": path}), said)
    }
}
