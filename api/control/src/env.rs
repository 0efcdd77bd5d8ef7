//! What an instance finds in its environment: Cloud Foundry's variables and the habitual names.

pub(crate) mod limits;

use model::secret::Env;
use model::service::habitual_name;
use serde_json::{Map, Value, json};
use store::records::{
    App, Binding, EnvironmentGroup, Org, PageRequest, Process, Route, ServiceInstance, Space,
};
use store::{BindingFilter, RouteFilter, ServiceInstanceFilter, Store};

use crate::error::OrNotFound;
use crate::settings::Settings;
use crate::{Control, Result};

/// What an app's environment tells of its surroundings.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) api_url: String,
    pub(crate) org: Org,
    pub(crate) space: Space,
    pub(crate) urls: Vec<String>,
    pub(crate) services: Vec<(Binding, ServiceInstance)>,
    /// What every app gets.
    pub(crate) group: Env,
}

/// Reads what an app's environment tells of its surroundings.
pub(crate) async fn surroundings(
    store: &Store,
    settings: &Settings,
    app: &App,
    group: EnvironmentGroup,
) -> store::Result<Surroundings> {
    let space = store
        .find_space(app.space)
        .await?
        .ok_or(store::Error::Missing)?;
    let org = store
        .find_org(space.org)
        .await?
        .ok_or(store::Error::Missing)?;
    let routes = RouteFilter {
        apps: vec![app.id],
        ..RouteFilter::default()
    };
    let routes = store.list_routes(&routes, PageRequest::ALL).await?.items;
    let bindings = BindingFilter {
        apps: vec![app.id],
        ..BindingFilter::default()
    };
    let bindings = store
        .list_bindings(&bindings, PageRequest::ALL)
        .await?
        .items;
    let guids = bindings
        .iter()
        .map(|binding| binding.service_instance)
        .collect::<Vec<_>>();
    let instances = if guids.is_empty() {
        Vec::new()
    } else {
        let filter = ServiceInstanceFilter {
            guids,
            ..ServiceInstanceFilter::default()
        };
        store
            .list_service_instances(&filter, PageRequest::ALL)
            .await?
            .items
    };
    let services = bindings
        .into_iter()
        .filter_map(|binding| {
            let instance = instances
                .iter()
                .find(|instance| instance.id == binding.service_instance)?
                .clone();
            Some((binding, instance))
        })
        .collect();
    let url = |route: &Route| settings.url_of(&route.host, &route.domain_name, &route.path);
    Ok(Surroundings {
        api_url: settings.external_url.clone(),
        org,
        space,
        urls: routes.iter().map(url).collect(),
        services,
        group: store.environment_group(group).await?,
    })
}

impl Control {
    pub(crate) async fn surroundings(&self, app: &App) -> Result<Surroundings> {
        surroundings(
            self.store(),
            self.settings(),
            app,
            EnvironmentGroup::Running,
        )
        .await
        .or_not_found("App")
    }

    /// `hello.localhost:8080/path`
    #[must_use]
    pub fn route_url(&self, route: &Route) -> String {
        self.settings()
            .url_of(&route.host, &route.domain_name, &route.path)
    }
}

/// The `VCAP_APPLICATION` object, but for what only the cell knows.
pub(crate) fn vcap_application(surroundings: &Surroundings, app: &App, process: &Process) -> Value {
    json!({
        "cf_api": surroundings.api_url,
        "limits": { "fds": 16384, "mem": process.memory.0, "disk": process.disk.0 },
        "application_id": app.id,
        "application_name": app.name,
        "application_uris": surroundings.urls,
        "name": app.name,
        "uris": surroundings.urls,
        "organization_id": surroundings.org.id,
        "organization_name": surroundings.org.name,
        "space_id": surroundings.space.id,
        "space_name": surroundings.space.name,
        "process_id": process.id,
        "process_type": process.process_type,
    })
}

/// The `VCAP_SERVICES` object.
pub(crate) fn vcap_services(services: &[(Binding, ServiceInstance)]) -> Value {
    let user_provided = services
        .iter()
        .map(|(binding, instance)| {
            json!({
                "label": "user-provided",
                "name": binding.name.as_ref().unwrap_or(&instance.name),
                "tags": instance.tags,
                "instance_guid": instance.id,
                "instance_name": instance.name,
                "binding_guid": binding.id,
                "binding_name": binding.name,
                "credentials": instance.credentials.expose(),
                "syslog_drain_url": instance.syslog_drain_url.as_ref().map(|url| url.expose()),
                "volume_mounts": [],
            })
        })
        .collect::<Vec<_>>();
    if user_provided.is_empty() {
        json!({})
    } else {
        json!({ "user-provided": user_provided })
    }
}

/// Everything an instance (or a build) of `process` gets from the server. The app's own variables win over the names
/// that come from bindings, those over what every app gets; the platform's own win over all.
pub(crate) fn running_env(surroundings: &Surroundings, app: &App, process: &Process) -> Env {
    let mut env = app.env.clone();
    for (name, value) in habitual_names(&surroundings.services) {
        env.set_default(name, value);
    }
    for (name, value) in surroundings.group.iter() {
        env.set_default(name, value.to_owned());
    }
    env.set(
        "VCAP_APPLICATION",
        vcap_application(surroundings, app, process).to_string(),
    );
    env.set(
        "VCAP_SERVICES",
        vcap_services(&surroundings.services).to_string(),
    );
    env.set("MEMORY_LIMIT", format!("{}m", process.memory.0));
    env
}

/// `MONGODB_URI` and its like: the first credential of each kind, in the order of binding.
fn habitual_names(services: &[(Binding, ServiceInstance)]) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for (_, instance) in services {
        for uri in uris(instance.credentials.expose()) {
            if let Some(name) = habitual_name(uri)
                && !found.iter().any(|(known, _)| *known == name)
            {
                found.push((name, uri.to_owned()));
            }
        }
    }
    found
}

/// Texts in a credential object, those under the usual names first.
pub(crate) fn uris(credentials: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let usual = ["uri", "url"]
        .into_iter()
        .filter_map(|key| credentials.get(key));
    let others = credentials
        .iter()
        .filter(|(key, _)| !["uri", "url"].contains(&key.as_str()))
        .map(|(_, value)| value);
    usual.chain(others).filter_map(Value::as_str)
}

/// The host that a URI names, if that is this very machine: inside an instance it would be the instance itself.
pub(crate) fn loopback_host(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    if scheme.is_empty()
        || !scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let hosts = authority
        .rsplit_once('@')
        .map_or(authority, |(_, hosts)| hosts);
    hosts.split(',').find_map(|host| {
        let name = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next()?,
            None => host.split(':').next()?,
        };
        let loopback = name.eq_ignore_ascii_case("localhost")
            || name
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        loopback.then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use model::ids::{AppId, BindingId, ServiceInstanceId, SpaceId};
    use model::secret::Secret;

    use super::*;

    fn service(name: &str, credentials: Value) -> (Binding, ServiceInstance) {
        let id = ServiceInstanceId::random();
        let binding = Binding {
            id: BindingId::random(),
            app: AppId::random(),
            service_instance: id,
            name: None,
            created_us: 0,
        };
        let Value::Object(credentials) = credentials else {
            panic!("an object")
        };
        let instance = ServiceInstance {
            id,
            space: SpaceId::random(),
            name: name.into(),
            credentials: Secret::new(credentials),
            tags: vec![],
            syslog_drain_url: None,
            route_service_url: None,
            metadata: store::records::Metadata::default(),
            created_us: 0,
            updated_us: 0,
        };
        (binding, instance)
    }

    #[test]
    fn each_kind_of_credential_gets_its_habitual_name_from_the_first_binding() {
        let services = [
            service("a", json!({ "host": "x", "uri": "mongodb://u:p$@h/x" })),
            service("b", json!({ "uri": "mongodb://second" })),
            service(
                "c",
                json!({ "jdbc": "jdbc:postgresql://h", "url": "postgresql://h/db" }),
            ),
            service("d", json!({ "endpoint": "rediss://h", "port": 5 })),
        ];
        assert_eq!(
            habitual_names(&services),
            [
                ("MONGODB_URI", "mongodb://u:p$@h/x".to_owned()),
                ("DATABASE_URL", "postgresql://h/db".to_owned()),
                ("REDIS_URL", "rediss://h".to_owned()),
            ]
        );
    }

    #[test]
    fn loopback_addresses_in_uris_are_seen() {
        for (uri, want) in [
            ("mongodb://localhost:27017/x", Some("localhost")),
            ("mongodb://user:p@ss@127.0.0.1/x", Some("127.0.0.1")),
            ("mongodb://db1:1,127.1.2.3:2/x", Some("127.1.2.3")),
            ("redis://[::1]:6379", Some("::1")),
            ("mongodb://localhost.example.com/x", None),
            ("mongodb://db/?replicaSet=localhost", None),
            ("http://10.0.0.1", None),
            ("plain text with localhost", None),
        ] {
            assert_eq!(loopback_host(uri).as_deref(), want, "{uri}");
        }
    }
}
