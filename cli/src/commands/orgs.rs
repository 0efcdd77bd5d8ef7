//! Orgs and spaces.

use api_types::{Organization, Space};
use serde_json::json;

use crate::client::Query;
use crate::context::Context;
use crate::error::{CliError, Outcome};

/// List the orgs that you may see
#[derive(Debug, clap::Args)]
pub(crate) struct Orgs {}

/// List the spaces of the org
#[derive(Debug, clap::Args)]
pub(crate) struct Spaces {}

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
async fn targeted_org(cx: &Context) -> Outcome<crate::config::Named> {
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
