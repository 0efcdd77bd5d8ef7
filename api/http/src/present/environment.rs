//! Environment variables.

use std::collections::BTreeMap;

use api_control::{AppEnv, records};
use api_types::{AppEnvironment, EnvironmentMap, EnvironmentVariables};
use model::ids::AppId;
use model::secret::{Env, Secret};
use serde_json::Value;

use crate::urls::Urls;

pub(crate) fn environment_variables(urls: &Urls, app: AppId, env: &Env) -> EnvironmentVariables {
    EnvironmentVariables {
        name: None,
        var: map(env),
        links: urls.links([
            ("self", format!("/v3/apps/{app}/environment_variables")),
            ("app", format!("/v3/apps/{app}")),
        ]),
    }
}

pub(crate) fn environment_group(
    urls: &Urls,
    group: records::EnvironmentGroup,
    env: &Env,
) -> EnvironmentVariables {
    let own = format!("/v3/environment_variable_groups/{}", group.name());
    EnvironmentVariables {
        name: Some(group.name().to_owned()),
        var: map(env),
        links: urls.links([("self", own)]),
    }
}

pub(crate) fn revision_environment(
    urls: &Urls,
    revision: &records::Revision,
    env: &Env,
) -> EnvironmentVariables {
    let own = format!("/v3/revisions/{}", revision.id);
    EnvironmentVariables {
        name: None,
        var: map(env),
        links: urls.links([
            ("self", format!("{own}/environment_variables")),
            ("revision", own),
            ("app", format!("/v3/apps/{}", revision.app)),
        ]),
    }
}

pub(crate) fn app_environment(env: AppEnv) -> AppEnvironment {
    AppEnvironment {
        environment_variables: map(&env.environment_variables),
        running_env_json: map(&env.running_env),
        staging_env_json: map(&env.staging_env),
        system_env_json: Secret::new(object(env.system_env)),
        application_env_json: object(env.application_env),
    }
}

fn map(env: &Env) -> EnvironmentMap {
    env.iter()
        .map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned())))
        .collect()
}

fn object(value: Value) -> BTreeMap<String, Value> {
    match value {
        Value::Object(map) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}
