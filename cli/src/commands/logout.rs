//! Logging out.

use serde_json::json;

use crate::config::Config;
use crate::error::Outcome;
use crate::ui::Ui;

/// Forget the tokens and the target; the server's address stays
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {}

pub(crate) fn run(ui: &Ui) -> Outcome {
    let path = Config::path()?;
    let stored = Config::load(&path)?;
    let kept = Config {
        user: None,
        org: None,
        space: None,
        access_token: None,
        refresh_token: None,
        ..stored
    };
    kept.save(&path)?;
    ui.say("logged out");
    if ui.json() {
        ui.data(json!({"api": kept.api}).to_string())
    } else {
        Ok(())
    }
}
