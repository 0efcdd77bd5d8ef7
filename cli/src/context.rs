//! What a command works with: the terminal, the API it talks to, and the org and space it works in.

use std::path::PathBuf;

use api_types::{Organization, RootDocument, RootLink, Space};
use http::Method;
use tokio::sync::OnceCell;

use crate::client::{Call, Client, Query, Tokens, as_secure_as, normalize};
use crate::config::{Config, Named};
use crate::environment::Environment;
use crate::error::{CliError, Exit, Outcome};
use crate::ui::Ui;

pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) client: Client,
    pub(crate) config: Config,
    /// Where the login is stored.
    pub(crate) config_path: PathBuf,
    environment: Environment,
    target: OnceCell<Target>,
}

/// The org and space that commands work in.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) org: Named,
    pub(crate) space: Named,
}

/// The org and space that exist from the first start.
const FIRST_ORG: &str = "main";
const FIRST_SPACE: &str = "dev";

impl Context {
    /// The stored login, with what the environment says instead.
    pub(crate) async fn open(ui: Ui) -> Outcome<Self> {
        let path = Config::path()?;
        let config = Config::load(&path)?;
        Self::with(ui, config, path, Environment::read()).await
    }

    pub(crate) async fn with(
        ui: Ui,
        stored: Config,
        path: PathBuf,
        environment: Environment,
    ) -> Outcome<Self> {
        let given = environment.api.as_deref().map(normalize).transpose()?;
        let api = given.or_else(|| stored.api.clone()).ok_or_else(no_api)?;
        // What is stored belongs to the stored API only.
        let mut config = if stored.api.as_ref() == Some(&api) {
            stored
        } else {
            Config::default()
        };
        config.api = Some(api.clone());
        let mut tokens = Tokens {
            login_url: config.login_url.clone(),
            ..Tokens::default()
        };
        if let Some(token) = &environment.token {
            tokens.access = Some(token.clone());
        } else {
            if config.access_token.is_some() {
                tokens.access = config.access_token.clone();
                tokens.refresh = config.refresh_token.clone();
                tokens.store = Some(path.clone());
            }
            tokens.password = environment
                .username
                .clone()
                .zip(environment.password.clone());
        }
        let client = Client::new(api, tokens, ui.clone());
        if config.login_url.is_none() || config.log_cache_url.is_none() {
            take_links(&mut config, &root(&client).await?);
            client.log_in_at(config.login_url.clone());
        }
        Ok(Self {
            ui,
            client,
            config,
            config_path: path,
            environment,
            target: OnceCell::new(),
        })
    }

    /// The org and space to work in: from the environment, from the stored target, or the only ones there are.
    pub(crate) async fn target(&self) -> Outcome<&Target> {
        self.target.get_or_try_init(|| self.find_target()).await
    }

    pub(crate) async fn space_guid(&self) -> Outcome<&str> {
        Ok(&self.target().await?.space.guid)
    }

    async fn find_target(&self) -> Outcome<Target> {
        let (org_name, space_name) = (
            self.environment.org.as_deref(),
            self.environment.space.as_deref(),
        );
        if let (None, None, Some(org), Some(space)) =
            (org_name, space_name, &self.config.org, &self.config.space)
        {
            return Ok(Target {
                org: org.clone(),
                space: space.clone(),
            });
        }
        let org = match (org_name, &self.config.org) {
            (Some(name), _) => self.client.find_org(name).await?,
            (None, Some(org)) => org.clone(),
            (None, None) => self.client.default_org().await?.ok_or_else(no_target)?,
        };
        let space = match space_name {
            Some(name) => self.client.find_space(&org, name).await?,
            None => self
                .client
                .default_space(&org)
                .await?
                .ok_or_else(no_target)?,
        };
        Ok(Target { org, space })
    }

    /// Where logs are read.
    pub(crate) fn log_cache_url(&self) -> Outcome<&str> {
        self.config
            .log_cache_url
            .as_deref()
            .ok_or_else(|| CliError::other("this server offers no logs to read"))
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// The server's table of contents; no login needed.
pub(crate) async fn root(client: &Client) -> Outcome<RootDocument> {
    let root: RootDocument = client
        .send(Call::new(Method::GET, client.at("/")).without_token())
        .await?
        .read()?;
    if root.links.cloud_controller_v3.is_none() {
        let message = format!(
            "{} is not the address of a Slipway or Cloud Foundry API",
            client.api()
        );
        return Err(CliError::usage(message)
            .hint("slipway api URL  with the address that 'slipway up' prints"));
    }
    Ok(root)
}

pub(crate) fn take_links(config: &mut Config, root: &RootDocument) {
    let api = config.api.clone().unwrap_or_default();
    let href = |link: &Option<RootLink>| {
        link.as_ref()
            .map(|link| as_secure_as(&api, link.href.trim_end_matches('/')))
    };
    let links = &root.links;
    config.login_url = href(&links.login).or_else(|| href(&links.uaa));
    config.log_cache_url = href(&links.log_cache);
    let meta = links
        .cloud_controller_v3
        .as_ref()
        .and_then(|link| link.meta.as_ref());
    config.api_version = meta.and_then(|meta| meta.version.clone());
}

fn no_api() -> CliError {
    CliError::new(
        "E-LOGIN",
        Exit::Login,
        "not logged in: no server is known yet",
    )
    .hint("slipway login -a http://127.0.0.1:8080")
    .hint("slipway up  starts one on this host")
}

fn no_target() -> CliError {
    CliError::usage("no org and space are targeted")
        .hint("slipway target -o ORG -s SPACE")
        .hint("slipway orgs")
}

impl Client {
    pub(crate) async fn find_org(&self, name: &str) -> Outcome<Named> {
        let query = Query::of("/v3/organizations").name("names", name).one();
        let found = self.first::<Organization>(query).await?;
        found
            .map(|org| Named {
                guid: org.guid,
                name: org.name,
            })
            .ok_or_else(|| {
                CliError::not_found(format!("there is no org '{name}', or you may not see it"))
                    .hint("slipway orgs")
            })
    }

    pub(crate) async fn find_space(&self, org: &Named, name: &str) -> Outcome<Named> {
        let query = Query::of("/v3/spaces")
            .name("names", name)
            .with("organization_guids", &org.guid)
            .one();
        let found = self.first::<Space>(query).await?;
        found
            .map(|space| Named {
                guid: space.guid,
                name: space.name,
            })
            .ok_or_else(|| {
                CliError::not_found(format!(
                    "there is no space '{name}' in org '{}', or you may not see it",
                    org.name
                ))
                .hint("slipway spaces")
            })
    }

    /// The only org, or the first one.
    pub(crate) async fn default_org(&self) -> Outcome<Option<Named>> {
        let orgs = self
            .list::<Organization>(Query::of("/v3/organizations").with("order_by", "name"))
            .await?;
        Ok(only_or(
            orgs.into_iter()
                .map(|org| Named {
                    guid: org.guid,
                    name: org.name,
                })
                .collect(),
            FIRST_ORG,
        ))
    }

    pub(crate) async fn default_space(&self, org: &Named) -> Outcome<Option<Named>> {
        let query = Query::of("/v3/spaces")
            .with("order_by", "name")
            .with("organization_guids", &org.guid);
        let spaces = self.list::<Space>(query).await?;
        Ok(only_or(
            spaces
                .into_iter()
                .map(|space| Named {
                    guid: space.guid,
                    name: space.name,
                })
                .collect(),
            FIRST_SPACE,
        ))
    }
}

fn only_or(mut all: Vec<Named>, first: &str) -> Option<Named> {
    if all.len() == 1 {
        all.pop()
    } else {
        all.into_iter().find(|one| one.name == first)
    }
}
