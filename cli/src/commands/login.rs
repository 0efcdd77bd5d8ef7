//! Logging in: with a password that is asked for, or one from a flag or the environment.

use std::path::Path;

use api_types::LoginInfo;
use http::Method;
use model::secret::Secret;
use serde_json::json;

use crate::client::{Call, Client, Tokens, normalize};
use crate::config::{Config, Named};
use crate::context::{root, take_links};
use crate::environment::Environment;
use crate::error::{CliError, Exit, Outcome};
use crate::ui::Ui;

/// Log in to a server, and choose the org and space to work in
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// Address of the API, such as http://127.0.0.1:8080
    #[arg(short, long, value_name = "URL")]
    pub(crate) api: Option<String>,
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Password; better left out, it is asked for [env: SLIPWAY_PASSWORD]
    #[arg(short, long, allow_hyphen_values = true)]
    pub(crate) password: Option<String>,
    #[arg(short, long)]
    pub(crate) org: Option<String>,
    #[arg(short, long)]
    pub(crate) space: Option<String>,
}

/// Log in without questions, for scripts
#[derive(Debug, clap::Args)]
pub(crate) struct Auth {
    /// [env: SLIPWAY_USERNAME]
    pub(crate) user: Option<String>,
    /// Better given by the environment [env: SLIPWAY_PASSWORD]
    #[arg(allow_hyphen_values = true)]
    pub(crate) password: Option<String>,
}

/// As many as `cf` gives.
const TRIES: usize = 3;

impl Login {
    pub(crate) async fn run(self, ui: &Ui) -> Outcome {
        self.with(ui, &Config::path()?, Environment::read()).await
    }

    pub(crate) async fn with(self, ui: &Ui, path: &Path, environment: Environment) -> Outcome {
        let stored = Config::load(path)?;
        let known = self.api.clone().or(environment.api).or(stored.api.clone());
        let api = match known {
            Some(api) => Some(api),
            None => ui.ask("API").await?,
        };
        let api = api.ok_or_else(|| {
            CliError::usage("no server is known yet").hint("slipway login -a http://127.0.0.1:8080")
        })?;
        let mut session = Session::open(ui, &api).await?;
        ui.say(format!("API {}", session.client.api()));
        let prompts = session.prompts().await;
        let label = |name: &str, otherwise: &str| {
            prompts
                .prompts
                .get(name)
                .map_or(otherwise.to_owned(), |[_, label]| label.clone())
        };
        let user = match self.user.clone().or(environment.username) {
            Some(user) => Some(user),
            None => ui.ask(&label("username", "User")).await?,
        };
        let user = user
            .filter(|user| !user.is_empty())
            .ok_or_else(|| missing("user", "-u USER", "SLIPWAY_USERNAME"))?;
        let given = self
            .password
            .clone()
            .map(Secret::new)
            .or(environment.password);
        match given {
            Some(password) => session.password(&user, &password).await?,
            None => {
                session
                    .ask_password(ui, &user, &label("password", "Password"))
                    .await?
            }
        }
        session.take_target(stored);
        session
            .choose_target(self.org.as_deref(), self.space.as_deref())
            .await?;
        session.config.save(path)?;
        show(ui, &session.config)
    }
}

impl Auth {
    pub(crate) async fn run(self, ui: &Ui) -> Outcome {
        let environment = Environment::read();
        let path = Config::path()?;
        let stored = Config::load(&path)?;
        let api = environment.api.or(stored.api.clone()).ok_or_else(|| {
            CliError::usage("no server is known yet").hint("slipway api http://127.0.0.1:8080")
        })?;
        let user = self
            .user
            .or(environment.username)
            .ok_or_else(|| missing("user", "slipway auth USER", "SLIPWAY_USERNAME"))?;
        let password = self.password.map(Secret::new).or(environment.password);
        let password = password
            .ok_or_else(|| missing("password", "slipway auth USER PASSWORD", "SLIPWAY_PASSWORD"))?;
        let mut session = Session::open(ui, &api).await?;
        session.password(&user, &password).await?;
        session.take_target(stored);
        session.config.save(&path)?;
        show(ui, &session.config)
    }
}

fn missing(what: &str, flag: &str, variable: &str) -> CliError {
    CliError::usage(format!("no {what} is given, and nobody is here to ask"))
        .hint(flag)
        .hint(format!("set {variable}"))
}

fn show(ui: &Ui, config: &Config) -> Outcome {
    let name = |named: &Option<Named>| named.as_ref().map(|named| named.name.clone());
    let (org, space) = (name(&config.org), name(&config.space));
    ui.answer(
        || json!({"api": config.api, "user": config.user, "org": org, "space": space}),
        |ui| {
            ui.say(format!(
                "logged in as {}",
                config.user.as_deref().unwrap_or("?")
            ));
            match (&org, &space) {
                (Some(org), Some(space)) => ui.say(format!(
                    "org {org} / space {space}  (slipway target to change)"
                )),
                _ => ui.say("no org and space yet: slipway target -o ORG -s SPACE"),
            }
            Ok(())
        },
    )
}

/// A login in the making.
struct Session {
    client: Client,
    config: Config,
}

impl Session {
    async fn open(ui: &Ui, api: &str) -> Outcome<Self> {
        let api = normalize(api)?;
        let client = Client::new(api.clone(), Tokens::default(), ui.clone());
        let mut config = Config {
            api: Some(api),
            ..Config::default()
        };
        take_links(&mut config, &root(&client).await?);
        client.log_in_at(config.login_url.clone());
        Ok(Self { client, config })
    }

    /// How the server calls what it asks for. A server that does not say is asked with plain words.
    async fn prompts(&self) -> LoginInfo {
        let Some(login) = &self.config.login_url else {
            return LoginInfo::default();
        };
        let call = Call::new(Method::GET, format!("{login}/login")).without_token();
        match self.client.send(call).await {
            Ok(answer) => answer.read().unwrap_or_default(),
            Err(_) => LoginInfo::default(),
        }
    }

    async fn password(&mut self, user: &str, password: &Secret<String>) -> Outcome {
        let tokens = self.client.password_grant(user, password).await?;
        self.client.keep(&tokens)?;
        self.config.user = Some(user.to_owned());
        self.config.access_token = Some(tokens.access_token);
        self.config.refresh_token = tokens.refresh_token;
        Ok(())
    }

    async fn ask_password(&mut self, ui: &Ui, user: &str, label: &str) -> Outcome {
        let mut left = TRIES;
        loop {
            let password = ui
                .ask_secret(label)?
                .ok_or_else(|| missing("password", "-p PASSWORD", "SLIPWAY_PASSWORD"))?;
            left -= 1;
            match self.password(user, &Secret::new(password)).await {
                Err(error) if error.code == "E-CRED" && left > 0 => {
                    ui.say(format!("{}; {left} more", error.message))
                }
                result => return result,
            }
        }
    }

    /// Goes on in the org and space of the login before, if that was one of the same user to the same server.
    fn take_target(&mut self, before: Config) {
        if before.api == self.config.api && before.user == self.config.user {
            (self.config.org, self.config.space) = (before.org, before.space);
        }
    }

    /// What is named must exist. Otherwise what was targeted before stays if it still exists, else the only or first one is
    /// taken.
    async fn choose_target(&mut self, org: Option<&str>, space: Option<&str>) -> Outcome {
        let before = (self.config.org.take(), self.config.space.take());
        let org = match (org, &before.0) {
            (Some(name), _) => Some(self.client.find_org(name).await?),
            (None, Some(org)) => if_there(self.client.find_org(&org.name).await)?,
            (None, None) => None,
        };
        let org = match org {
            Some(org) => org,
            None => match self.client.default_org().await? {
                Some(org) => org,
                None => return Ok(()),
            },
        };
        let named = match (space, before.1) {
            (Some(name), _) => Some(self.client.find_space(&org, name).await?),
            (None, Some(space)) if before.0.as_ref() == Some(&org) => {
                if_there(self.client.find_space(&org, &space.name).await)?
            }
            (None, _) => None,
        };
        self.config.space = match named {
            Some(space) => Some(space),
            None => self.client.default_space(&org).await?,
        };
        self.config.org = Some(org);
        Ok(())
    }
}

fn if_there(found: Outcome<Named>) -> Outcome<Option<Named>> {
    match found {
        Err(error) if error.exit == Exit::NotFound => Ok(None),
        found => found.map(Some),
    }
}
