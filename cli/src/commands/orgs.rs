//! Orgs and spaces.

use api_types::{
    CreateOrganization, CreateSpace, CreateSpaceRelationships, Organization, Space, ToOne,
};
use serde_json::json;

use super::done;
use crate::client::Query;
use crate::config::{Config, Named};
use crate::context::Context;
use crate::error::{CliError, Outcome};

/// List the orgs that you may see
#[derive(Debug, clap::Args)]
pub(crate) struct Orgs {}

/// List the spaces of the org
#[derive(Debug, clap::Args)]
pub(crate) struct Spaces {}

/// Create an org
#[derive(Debug, clap::Args)]
pub(crate) struct CreateOrg {
    pub(crate) org: String,
}

/// Delete an org with all that is in it
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteOrg {
    pub(crate) org: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Create a space
#[derive(Debug, clap::Args)]
pub(crate) struct CreateSpaceCommand {
    pub(crate) space: String,
    /// The org [default: the targeted one]
    #[arg(short, long)]
    pub(crate) org: Option<String>,
}

/// Delete a space with all that is in it
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteSpace {
    pub(crate) space: String,
    /// The org [default: the targeted one]
    #[arg(short, long)]
    pub(crate) org: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

impl CreateOrg {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let json = json!({"org": self.org});
        if org_if_any(cx, &self.org).await?.is_some() {
            // As in `cf`, what is already so is a success.
            return done(cx, json, format!("there is an org {} already", self.org));
        }
        let request = CreateOrganization {
            name: self.org.clone(),
            ..CreateOrganization::default()
        };
        let _: Organization = cx.client.post("/v3/organizations", &request).await?;
        let said = format!(
            "{name} is created; slipway target -o {name}",
            name = self.org
        );
        done(cx, json, said)
    }
}

impl DeleteOrg {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let question = format!("Delete the org {} with all its spaces and apps?", self.org);
        if !self.force && !cx.ui.confirm(&question, "-f").await? {
            return done(cx, json!({"deleted": null}), "nothing was deleted");
        }
        let Some(org) = org_if_any(cx, &self.org).await? else {
            let said = format!("there is no org {}", self.org);
            return done(cx, json!({"deleted": null}), said);
        };
        let path = format!("/v3/organizations/{}", org.guid);
        cx.client.finish(&cx.client.delete(&path).await?).await?;
        forget_target(cx, &org.guid)?;
        let said = format!("{} is deleted", org.name);
        done(cx, json!({"deleted": org.name}), said)
    }
}

impl CreateSpaceCommand {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let org = chosen_org(cx, self.org.as_deref()).await?;
        let json = json!({"space": self.space, "org": org.name});
        if space_if_any(cx, &org, &self.space).await?.is_some() {
            let said = format!("there is a space {} in {} already", self.space, org.name);
            return done(cx, json, said);
        }
        let request = CreateSpace {
            name: self.space.clone(),
            relationships: CreateSpaceRelationships {
                organization: ToOne::to(&org.guid),
            },
            metadata: None,
        };
        let _: Space = cx.client.post("/v3/spaces", &request).await?;
        let said = format!(
            "{space} is created; slipway target -o {} -s {space}",
            org.name,
            space = self.space
        );
        done(cx, json, said)
    }
}

impl DeleteSpace {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let org = chosen_org(cx, self.org.as_deref()).await?;
        let question = format!(
            "Delete the space {} of {} with all its apps and services?",
            self.space, org.name
        );
        if !self.force && !cx.ui.confirm(&question, "-f").await? {
            return done(cx, json!({"deleted": null}), "nothing was deleted");
        }
        let Some(space) = space_if_any(cx, &org, &self.space).await? else {
            let said = format!("there is no space {} in {}", self.space, org.name);
            return done(cx, json!({"deleted": null}), said);
        };
        let path = format!("/v3/spaces/{}", space.guid);
        cx.client.finish(&cx.client.delete(&path).await?).await?;
        forget_target(cx, &space.guid)?;
        let said = format!("{} is deleted", space.name);
        done(cx, json!({"deleted": space.name}), said)
    }
}

async fn org_if_any(cx: &Context, name: &str) -> Outcome<Option<Organization>> {
    let query = Query::of("/v3/organizations").name("names", name).one();
    cx.client.first(query).await
}

async fn space_if_any(cx: &Context, org: &Named, name: &str) -> Outcome<Option<Space>> {
    let query = Query::of("/v3/spaces")
        .name("names", name)
        .with("organization_guids", &org.guid)
        .one();
    cx.client.first(query).await
}

async fn chosen_org(cx: &Context, name: Option<&str>) -> Outcome<Named> {
    match name {
        Some(name) => cx.client.find_org(name).await,
        None => targeted_org(cx).await,
    }
}

/// What is deleted is no longer the stored target.
fn forget_target(cx: &Context, deleted: &str) -> Outcome {
    let mut stored = Config::load(&cx.config_path)?;
    let is_deleted =
        |named: &Option<Named>| named.as_ref().is_some_and(|named| named.guid == deleted);
    let (org, space) = (is_deleted(&stored.org), is_deleted(&stored.space));
    if !org && !space {
        return Ok(());
    }
    if org {
        stored.org = None;
    }
    stored.space = None;
    stored.save(&cx.config_path)?;
    cx.ui
        .say("it was the target; slipway target -o ORG -s SPACE");
    Ok(())
}

pub(crate) async fn orgs(cx: &Context) -> Outcome {
    let orgs: Vec<Organization> = cx
        .client
        .list(Query::of("/v3/organizations").with("order_by", "name"))
        .await?;
    cx.ui.answer(
        || {
            orgs.iter()
                .map(|org| json!({"name": org.name, "guid": org.guid}))
                .collect()
        },
        |ui| orgs.iter().try_for_each(|org| ui.data(&org.name)),
    )
}

pub(crate) async fn spaces(cx: &Context) -> Outcome {
    let org = targeted_org(cx).await?;
    let query = Query::of("/v3/spaces")
        .with("order_by", "name")
        .with("organization_guids", &org.guid);
    let spaces: Vec<Space> = cx.client.list(query).await?;
    cx.ui.answer(
        || {
            spaces
                .iter()
                .map(|space| json!({"name": space.name, "guid": space.guid}))
                .collect()
        },
        |ui| spaces.iter().try_for_each(|space| ui.data(&space.name)),
    )
}

/// A space need not be targeted to list spaces.
async fn targeted_org(cx: &Context) -> Outcome<Named> {
    match (&cx.environment().org, &cx.config.org) {
        (Some(name), _) => cx.client.find_org(name).await,
        (None, Some(org)) => Ok(org.clone()),
        (None, None) => cx.client.default_org().await?.ok_or_else(|| {
            CliError::usage("no org is targeted")
                .hint("slipway target -o ORG")
                .hint("slipway orgs")
        }),
    }
}
