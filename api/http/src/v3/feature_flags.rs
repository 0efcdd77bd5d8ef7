//! Feature flags: what this platform does and does not do, in Cloud Foundry's words. They can't be changed.

use api_types::{FeatureFlag, Page};
use axum::Json;

use crate::error::{ApiError, Outcome};
use crate::request::{Ask, Name};
use crate::urls::Urls;

const FLAGS: &[(&str, bool)] = &[
    ("app_bits_upload", true),
    ("app_scaling", true),
    ("diego_cnb", false),
    ("diego_docker", false),
    ("env_var_visibility", true),
    ("hide_marketplace_from_unauthenticated_users", false),
    ("private_domain_creation", false),
    ("resource_matching", true),
    ("route_creation", true),
    ("route_sharing", false),
    ("service_instance_creation", true),
    ("service_instance_sharing", false),
    ("set_roles_by_username", false),
    ("space_developer_env_var_visibility", true),
    ("space_scoped_private_broker_creation", false),
    ("task_creation", true),
    ("unset_roles_by_username", false),
    ("user_org_creation", false),
];

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<FeatureFlag>>> {
    let query = ask.query(&[])?;
    let flags = FLAGS
        .iter()
        .map(|(name, enabled)| flag(&ask.urls, name, *enabled))
        .collect();
    Ok(Json(
        query.answer(&ask.urls, query.part(flags), |flag| flag),
    ))
}

pub(crate) async fn show(ask: Ask, Name(name): Name) -> Outcome<Json<FeatureFlag>> {
    let found = FLAGS.iter().find(|(known, _)| *known == name);
    let (name, enabled) = found.ok_or_else(|| ApiError::not_found("Feature flag"))?;
    Ok(Json(flag(&ask.urls, name, *enabled)))
}

fn flag(urls: &Urls, name: &str, enabled: bool) -> FeatureFlag {
    let links = urls.links([("self", format!("/v3/feature_flags/{name}"))]);
    FeatureFlag {
        name: name.to_owned(),
        enabled,
        links,
        ..FeatureFlag::default()
    }
}
