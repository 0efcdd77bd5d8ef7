//! Which server, org and space commands work with.

use serde_json::json;

use crate::client::{Client, Tokens, normalize};
use crate::config::Config;
use crate::context::{Context, root, take_links};
use crate::error::{CliError, Outcome};
use crate::ui::Ui;

/// Show or set the server's address
#[derive(Debug, clap::Args)]
pub(crate) struct Api {
    /// Such as http://127.0.0.1:8080
    pub(crate) url: Option<String>,
    /// Forget the address, the tokens and the target
    #[arg(long, conflicts_with = "url")]
    pub(crate) unset: bool,
}

impl Api {
    pub(crate) async fn run(self, ui: &Ui) -> Outcome {
        let path = Config::path()?;
        let mut config = Config::load(&path)?;
        if self.unset {
            config = Config::default();
            config.save(&path)?;
            ui.say("no server is set any more");
        }
        if let Some(url) = &self.url {
            let api = normalize(url)?;
            let client = Client::new(api.clone(), Tokens::default(), ui.clone());
            let root = root(&client).await?;
            if config.api.as_ref() != Some(&api) {
                config = Config {
                    api: Some(api),
                    ..Config::default()
                };
            }
            take_links(&mut config, &root);
            config.save(&path)?;
        }
        ui.answer(
            || json!({"api": config.api, "version": config.api_version}),
            |ui| match &config.api {
                Some(api) => ui.data(api),
                None if self.unset => Ok(()),
                None => Err(CliError::usage("no server is known yet")
                    .hint("slipway api http://127.0.0.1:8080")),
            },
        )
    }
}

/// Show or set the org and space to work in
#[derive(Debug, clap::Args)]
pub(crate) struct TargetCommand {
    #[arg(short, long)]
    pub(crate) org: Option<String>,
    #[arg(short, long)]
    pub(crate) space: Option<String>,
}

impl TargetCommand {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let mut config = cx.config.clone();
        if self.org.is_some() || self.space.is_some() {
            let org = match &self.org {
                Some(name) => cx.client.find_org(name).await?,
                None => match config.org.clone() {
                    Some(org) => org,
                    None => cx.client.default_org().await?.ok_or_else(|| {
                        CliError::usage("no org is targeted")
                            .hint("slipway target -o ORG -s SPACE")
                            .hint("slipway orgs")
                    })?,
                },
            };
            config.space = match &self.space {
                Some(name) => Some(cx.client.find_space(&org, name).await?),
                None => cx.client.default_space(&org).await?,
            };
            config.org = Some(org);
            // A token may have been renewed on the way; only the target is ours to change.
            let stored = Config::load(&cx.config_path)?;
            if let Some(other) = stored.api.filter(|api| api != cx.client.api()) {
                return Err(other_server(cx.client.api(), &other));
            }
            (config.access_token, config.refresh_token) =
                (stored.access_token, stored.refresh_token);
            config.save(&cx.config_path)?;
        } else if let Ok(target) = cx.target().await {
            (config.org, config.space) = (Some(target.org.clone()), Some(target.space.clone()));
        }
        let name =
            |named: &Option<crate::config::Named>| named.as_ref().map(|named| named.name.clone());
        let (org, space) = (name(&config.org), name(&config.space));
        cx.ui.answer(
            || json!({"api": config.api, "version": config.api_version, "user": config.user, "org": org, "space": space}),
            |ui| {
                let none = || "none; slipway target -o ORG -s SPACE".to_owned();
                ui.data(format!("API      {}", cx.client.api()))?;
                ui.data(format!("user     {}", config.user.as_deref().unwrap_or("from the environment")))?;
                ui.data(format!("org      {}", org.clone().unwrap_or_else(none)))?;
                ui.data(format!("space    {}", space.clone().unwrap_or_else(none)))
            },
        )
    }
}

/// A target belongs to the stored login, which is one of another server.
fn other_server(api: &str, stored: &str) -> CliError {
    CliError::usage(format!(
        "this target is one of {api}, but the stored login is one of {stored}; nothing is stored"
    ))
    .hint(format!("slipway login -a {api}"))
    .hint("set SLIPWAY_ORG and SLIPWAY_SPACE beside SLIPWAY_API")
}
