//! The client against a small server that records every call.

mod deployments;
mod push;
mod scripted;
mod session;
mod tasks;
mod tls;
mod usage;
mod verbs;

use std::path::PathBuf;

use scripted::Server;

use crate::config::Config;
use crate::context::Context;
use crate::environment::Environment;
use crate::error::Outcome;
use crate::ui::Ui;

/// A context as after `login`, with its own folder for the configuration.
struct Home {
    folder: tempfile::TempDir,
    server: Server,
}

impl Home {
    fn with(server: Server) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            server,
        }
    }

    fn config_path(&self) -> PathBuf {
        self.folder.path().join("config.json")
    }

    async fn open(&self) -> Outcome<Context> {
        self.open_with(Environment::default()).await
    }

    async fn open_with(&self, environment: Environment) -> Outcome<Context> {
        let api = self.server.url();
        let named = |guid: &str, name: &str| {
            Some(crate::config::Named {
                guid: guid.into(),
                name: name.into(),
            })
        };
        let config = Config {
            api: Some(api.clone()),
            login_url: Some(format!("{api}/uaa")),
            log_cache_url: Some(format!("{api}/logs")),
            user: Some("admin".into()),
            org: named("org-1", "main"),
            space: named("space-1", "dev"),
            access_token: Some(scripted::token(4_102_444_800).into()),
            refresh_token: Some("refresh-1".to_owned().into()),
            ..Config::default()
        };
        self.open_as(config, environment).await
    }

    /// With this login in place of the usual one.
    async fn open_as(&self, config: Config, environment: Environment) -> Outcome<Context> {
        Context::with(Ui::silent(), config, self.config_path(), environment).await
    }
}
