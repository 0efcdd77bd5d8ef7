//! [`Manifest`] → YAML. All texts are quoted, so that no reader takes one for a number or a truth value.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::{AppManifest, Manifest, ProcessSettings, ServiceManifest, Setting};

pub(super) fn yaml(manifest: &Manifest) -> String {
    let mut top = Fields::default();
    top.some("version", manifest.version);
    top.push(
        "applications",
        Tree::List(manifest.applications.iter().map(app).collect()),
    );
    let mut options = serde_saphyr::SerializerOptions::default();
    options.quote_all = true;
    options.prefer_block_scalars = false;
    serde_saphyr::to_string_with_options(&Tree::Map(top.0), options)
        .expect("texts, numbers, lists and maps can be written")
}

/// A value whose maps keep their order.
enum Tree {
    Json(Json),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(value) => value.serialize(serializer),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items
                    .iter()
                    .try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries
                    .iter()
                    .try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

#[derive(Default)]
struct Fields(Vec<(String, Tree)>);

impl Fields {
    fn push(&mut self, key: &str, value: Tree) {
        self.0.push((key.to_owned(), value));
    }

    fn some(&mut self, key: &str, value: Option<impl Into<Json>>) {
        if let Some(value) = value {
            self.push(key, Tree::Json(value.into()));
        }
    }

    fn setting<T, J: Into<Json>>(
        &mut self,
        key: &str,
        value: &Setting<T>,
        write: impl FnOnce(&T) -> J,
    ) {
        match value {
            Setting::Keep => {}
            Setting::Reset => self.push(key, Tree::Json(Json::Null)),
            Setting::Set(value) => self.push(key, Tree::Json(write(value).into())),
        }
    }

    fn list(&mut self, key: &str, items: Vec<Tree>) {
        if !items.is_empty() {
            self.push(key, Tree::List(items));
        }
    }

    fn json_map(&mut self, key: &str, map: Map<String, Json>) {
        if !map.is_empty() {
            self.push(key, Tree::Json(Json::Object(map)));
        }
    }
}

fn app(app: &AppManifest) -> Tree {
    let mut fields = Fields::default();
    fields.some("name", app.name.clone());
    fields.some("path", app.path.clone());
    fields.some("lifecycle", app.lifecycle.clone());
    fields.setting("buildpacks", &app.buildpacks, Clone::clone);
    fields.setting("stack", &app.stack, Clone::clone);
    settings(&mut fields, &app.web);
    let env = app.env.iter().map(|(name, value)| {
        let value = value
            .as_ref()
            .map_or(Json::Null, |value| value.expose().clone().into());
        (name.clone(), value)
    });
    fields.json_map("env", env.collect());
    if let Some(routes) = &app.routes {
        fields.push("routes", Tree::List(routes.iter().map(route).collect()));
    }
    fields.some("no-route", app.no_route);
    fields.some("random-route", app.random_route);
    fields.some("default-route", app.default_route);
    fields.list("services", app.services.iter().map(service).collect());
    if let Some(docker) = &app.docker {
        let mut inner = Fields::default();
        inner.some("image", Some(docker.image.clone()));
        inner.some("username", docker.username.clone());
        fields.push("docker", Tree::Map(inner.0));
    }
    let processes = app.processes.iter().map(|process| {
        let mut inner = Fields::default();
        inner.some("type", Some(process.kind.clone()));
        settings(&mut inner, &process.settings);
        Tree::Map(inner.0)
    });
    fields.list("processes", processes.collect());
    let sidecars = app.sidecars.iter().map(|sidecar| {
        let mut inner = Fields::default();
        inner.some("name", Some(sidecar.name.clone()));
        inner.some("process_types", Some(sidecar.process_types.clone()));
        inner.some("command", Some(sidecar.command.clone()));
        inner.some("memory", sidecar.memory.map(|memory| memory.to_string()));
        Tree::Map(inner.0)
    });
    fields.list("sidecars", sidecars.collect());
    if let Some(metadata) = &app.metadata {
        let json =
            |texts: &std::collections::BTreeMap<String, Option<String>>| -> Map<String, Json> {
                texts
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone().into()))
                    .collect()
            };
        let mut inner = Fields::default();
        inner.json_map("labels", json(&metadata.labels));
        inner.json_map("annotations", json(&metadata.annotations));
        fields.push("metadata", Tree::Map(inner.0));
    }
    fields.json_map(
        "features",
        app.features
            .iter()
            .map(|(name, on)| (name.clone(), (*on).into()))
            .collect(),
    );
    Tree::Map(fields.0)
}

fn settings(fields: &mut Fields, process: &ProcessSettings) {
    fields.setting("command", &process.command, Clone::clone);
    fields.setting("instances", &process.instances, |count| *count);
    fields.setting("memory", &process.memory, ToString::to_string);
    fields.setting("disk_quota", &process.disk_quota, ToString::to_string);
    fields.setting(
        "log-rate-limit-per-second",
        &process.log_rate_limit,
        |rate| match rate {
            -1 => "-1".to_owned(),
            bytes => format!("{bytes}B"),
        },
    );
    fields.setting("health-check-type", &process.health_check_type, |check| {
        check.name()
    });
    fields.setting(
        "health-check-http-endpoint",
        &process.health_check_http_endpoint,
        Clone::clone,
    );
    fields.setting(
        "health-check-invocation-timeout",
        &process.health_check_invocation_timeout,
        |s| *s,
    );
    fields.setting(
        "health-check-interval",
        &process.health_check_interval,
        |s| *s,
    );
    fields.setting("timeout", &process.timeout, |s| *s);
    fields.setting(
        "readiness-health-check-type",
        &process.readiness_health_check_type,
        |check| check.name(),
    );
    fields.setting(
        "readiness-health-check-http-endpoint",
        &process.readiness_health_check_http_endpoint,
        Clone::clone,
    );
    let timeout = &process.readiness_health_check_invocation_timeout;
    fields.setting("readiness-health-check-invocation-timeout", timeout, |s| *s);
    fields.setting(
        "readiness-health-check-interval",
        &process.readiness_health_check_interval,
        |s| *s,
    );
}

fn route(route: &super::RouteManifest) -> Tree {
    let mut fields = Fields::default();
    fields.some("route", Some(route.route.clone()));
    fields.some("protocol", route.protocol.clone());
    fields.json_map("options", route.options.clone());
    Tree::Map(fields.0)
}

fn service(service: &ServiceManifest) -> Tree {
    if service.binding_name.is_none() && service.parameters.is_none() {
        return Tree::Json(service.name.clone().into());
    }
    let mut fields = Fields::default();
    fields.some("name", Some(service.name.clone()));
    fields.some("binding_name", service.binding_name.clone());
    if let Some(parameters) = &service.parameters {
        fields.push(
            "parameters",
            Tree::Json(Json::Object(parameters.expose().clone())),
        );
    }
    Tree::Map(fields.0)
}
