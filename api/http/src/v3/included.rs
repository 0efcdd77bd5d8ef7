//! `include=`: the resources that listed ones refer to, fetched with one call a kind.

use std::collections::BTreeSet;

use api_control::records::PageRequest;
use api_control::{AppFilter, ServiceInstanceFilter, SpaceFilter};
use api_types::{App, Organization, ServiceInstance, Space};
use model::ids::{AppId, OrgId, ServiceInstanceId, SpaceId};

use crate::error::Outcome;
use crate::present;
use crate::request::Ask;

pub(super) async fn orgs(
    ask: &Ask,
    ids: impl Iterator<Item = OrgId>,
) -> Outcome<Vec<Organization>> {
    let ids = distinct(ids);
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let orgs = ask
        .control
        .list_orgs(&ask.actor, &[], &ids, PageRequest::ALL)
        .await?;
    Ok(orgs
        .items
        .iter()
        .map(|org| present::org(&ask.urls, org))
        .collect())
}

/// The spaces, and the organizations that they are in.
pub(super) async fn spaces(
    ask: &Ask,
    ids: impl Iterator<Item = SpaceId>,
) -> Outcome<(Vec<Space>, Vec<OrgId>)> {
    let filter = SpaceFilter {
        guids: distinct(ids),
        ..SpaceFilter::default()
    };
    if filter.guids.is_empty() {
        return Ok(Default::default());
    }
    let spaces = ask
        .control
        .list_spaces(&ask.actor, &filter, PageRequest::ALL)
        .await?
        .items;
    Ok((
        spaces
            .iter()
            .map(|space| present::space(&ask.urls, space))
            .collect(),
        spaces.iter().map(|space| space.org).collect(),
    ))
}

pub(super) async fn apps(ask: &Ask, ids: impl Iterator<Item = AppId>) -> Outcome<Vec<App>> {
    let filter = AppFilter {
        guids: distinct(ids),
        ..AppFilter::default()
    };
    if filter.guids.is_empty() {
        return Ok(Vec::new());
    }
    let apps = ask
        .control
        .list_apps(&ask.actor, &filter, PageRequest::ALL)
        .await?;
    Ok(apps
        .items
        .iter()
        .map(|app| present::app(&ask.urls, app))
        .collect())
}

pub(super) async fn service_instances(
    ask: &Ask,
    ids: impl Iterator<Item = ServiceInstanceId>,
) -> Outcome<Vec<ServiceInstance>> {
    let filter = ServiceInstanceFilter {
        guids: distinct(ids),
        ..ServiceInstanceFilter::default()
    };
    if filter.guids.is_empty() {
        return Ok(Vec::new());
    }
    let instances = ask
        .control
        .list_service_instances(&ask.actor, &filter, PageRequest::ALL)
        .await?;
    Ok(instances
        .items
        .iter()
        .map(|instance| present::service_instance(&ask.urls, instance))
        .collect())
}

fn distinct<T: Ord>(ids: impl Iterator<Item = T>) -> Vec<T> {
    ids.collect::<BTreeSet<_>>().into_iter().collect()
}
