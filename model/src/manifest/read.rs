//! Tree → [`Manifest`]: every key known, every value of the kind its key needs.

mod values;

use std::collections::BTreeMap;

use values::json;

use super::error::ManifestError;
use super::keys::{APP_ONLY, PROCESS, TOP};
use super::node::{Key, Node, Value, short};
use super::{
    AppManifest, DockerManifest, Manifest, MetadataManifest, ProcessManifest, ProcessSettings,
    RouteManifest, ServiceManifest, Setting, SidecarManifest,
};
use crate::secret::Secret;

type Read<T> = Result<T, ManifestError>;
type JsonMap = serde_json::Map<String, serde_json::Value>;

pub(super) fn manifest(root: &Node, text: &str) -> Read<Manifest> {
    let reader = Reader { text };
    let mut manifest = Manifest::default();
    let mut seen = false;
    for (key, node) in reader.map(root)? {
        match key.text.as_str() {
            "version" => manifest.version = Some(reader.version(node)?),
            "applications" => {
                seen = true;
                manifest.applications = reader.each(node, |item| reader.app(item))?;
            }
            // A place to keep anchors: `defaults: &defaults`, or a name by the custom of other formats.
            name if node.anchored || name.starts_with("x-") => {}
            _ => return Err(reader.unknown(key, TOP.iter().copied())),
        }
    }
    if !seen || manifest.applications.is_empty() {
        let error = reader.error(root.position, "the manifest has no 'applications'");
        return Err(error.with_hint("applications: [{name: my-app}]"));
    }
    Ok(manifest)
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn app(&self, node: &Node) -> Read<AppManifest> {
        let mut app = AppManifest::default();
        for (key, node) in self.map(node)? {
            app.positions.push((key.text.clone(), key.position));
            match key.text.as_str() {
                "name" => app.name = self.optional(node, |n| self.name(n, "a name"))?,
                "path" => app.path = self.optional(node, |n| self.name(n, "a path"))?,
                "buildpack" => app.buildpacks = self.single_buildpack(node)?,
                "buildpacks" => {
                    app.buildpacks = self.setting(node, |n| {
                        self.each(n, |item| self.name(item, "a buildpack"))
                    })?
                }
                "stack" => app.stack = self.setting(node, |n| self.name(n, "a stack"))?,
                "env" => app.env = self.optional(node, |n| self.env(n))?.unwrap_or_default(),
                "routes" => {
                    app.routes = self.optional(node, |n| self.each(n, |item| self.route(item)))?
                }
                "no-route" => app.no_route = self.optional(node, |n| self.bool(n))?,
                "random-route" => app.random_route = self.optional(node, |n| self.bool(n))?,
                "default-route" => app.default_route = self.optional(node, |n| self.bool(n))?,
                "services" => app.services = self.list(node, |item| self.service(item))?,
                "docker" => app.docker = self.optional(node, |n| self.docker(n))?,
                "lifecycle" => {
                    app.lifecycle =
                        self.optional(node, |n| self.one_of(n, &["buildpack", "cnb", "docker"]))?
                }
                "processes" => app.processes = self.list(node, |item| self.process(item))?,
                "sidecars" => app.sidecars = self.list(node, |item| self.sidecar(item))?,
                "metadata" => app.metadata = self.optional(node, |n| self.metadata(n))?,
                "features" => {
                    app.features = self
                        .optional(node, |n| self.features(n))?
                        .unwrap_or_default()
                }
                _ if self.process_key(&mut app.web, key, node)? => {}
                _ => return Err(self.unknown(key, APP_ONLY.iter().chain(PROCESS).copied())),
            }
        }
        Ok(app)
    }

    /// Whether `key` is one of a process; if so its value is taken.
    fn process_key(&self, into: &mut ProcessSettings, key: &Key, node: &Node) -> Read<bool> {
        let seconds = |n: &Node| self.number(n, "a number of seconds", 1);
        match key.text.as_str() {
            "command" => into.command = self.setting(node, |n| self.name(n, "a command"))?,
            "instances" => {
                into.instances =
                    self.setting(node, |n| self.number(n, "a number of instances", 0))?
            }
            "memory" => into.memory = self.setting(node, |n| self.megabytes(n))?,
            "disk-quota" | "disk_quota" if !into.disk_quota.is_keep() => {
                return Err(self.error(
                    key.position,
                    "'disk-quota' and 'disk_quota' are the same; write one of them",
                ));
            }
            "disk-quota" | "disk_quota" => {
                into.disk_quota = self.setting(node, |n| self.megabytes(n))?
            }
            "log-rate-limit-per-second" => {
                into.log_rate_limit = self.setting(node, |n| self.log_rate(n))?
            }
            "health-check-type" => {
                into.health_check_type = self.setting(node, |n| self.check_type(n))?
            }
            "health-check-http-endpoint" => {
                into.health_check_http_endpoint =
                    self.setting(node, |n| self.name(n, "a path such as /health"))?;
            }
            "health-check-invocation-timeout" => {
                into.health_check_invocation_timeout = self.setting(node, seconds)?
            }
            "health-check-interval" => into.health_check_interval = self.setting(node, seconds)?,
            "timeout" => into.timeout = self.setting(node, seconds)?,
            "readiness-health-check-type" => {
                into.readiness_health_check_type = self.setting(node, |n| self.check_type(n))?
            }
            "readiness-health-check-http-endpoint" => {
                into.readiness_health_check_http_endpoint =
                    self.setting(node, |n| self.name(n, "a path such as /ready"))?;
            }
            "readiness-health-check-invocation-timeout" => {
                into.readiness_health_check_invocation_timeout = self.setting(node, seconds)?;
            }
            "readiness-health-check-interval" => {
                into.readiness_health_check_interval = self.setting(node, seconds)?
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn process(&self, node: &Node) -> Read<ProcessManifest> {
        let mut kind = None;
        let mut settings = ProcessSettings::default();
        for (key, node) in self.map(node)? {
            match key.text.as_str() {
                "type" => kind = Some(self.name(node, "a process type such as worker")?),
                _ if self.process_key(&mut settings, key, node)? => {}
                _ => return Err(self.unknown(key, PROCESS.iter().copied().chain(["type"]))),
            }
        }
        Ok(ProcessManifest {
            kind: self.required(kind, node, "type")?,
            settings,
        })
    }

    fn sidecar(&self, node: &Node) -> Read<SidecarManifest> {
        let (mut name, mut command, mut process_types, mut memory) = (None, None, Vec::new(), None);
        for (key, node) in self.map(node)? {
            match key.text.as_str() {
                "name" => name = Some(self.name(node, "a name")?),
                "command" => command = Some(self.name(node, "a command")?),
                "process_types" => {
                    process_types = self.each(node, |item| self.name(item, "a process type"))?
                }
                "memory" => memory = self.optional(node, |n| self.megabytes(n))?,
                _ => return Err(self.unknown(key, ["name", "command", "process_types", "memory"])),
            }
        }
        let (name, command) = (
            self.required(name, node, "name")?,
            self.required(command, node, "command")?,
        );
        Ok(SidecarManifest {
            name,
            process_types,
            command,
            memory,
        })
    }

    fn route(&self, node: &Node) -> Read<RouteManifest> {
        if let Value::Scalar(scalar) = &node.value {
            return Err(self
                .expected("a route of the form '- route: HOST.DOMAIN'", node)
                .with_hint(format!("- route: {}", short(&scalar.text))));
        }
        let (mut route, mut protocol, mut options) = (None, None, JsonMap::new());
        for (key, node) in self.map(node)? {
            match key.text.as_str() {
                "route" => route = Some(self.name(node, "a route such as shop.example.com")?),
                "protocol" => {
                    protocol =
                        self.optional(node, |n| self.one_of(n, &["http1", "http2", "tcp"]))?
                }
                "options" => {
                    options = self
                        .optional(node, |n| self.json_map(n))?
                        .unwrap_or_default()
                }
                _ => return Err(self.unknown(key, ["route", "protocol", "options"])),
            }
        }
        Ok(RouteManifest {
            route: self.required(route, node, "route")?,
            protocol,
            options,
        })
    }

    fn service(&self, node: &Node) -> Read<ServiceManifest> {
        if matches!(node.value, Value::Scalar(_)) {
            let name = self.name(node, "the name of a service instance")?;
            return Ok(ServiceManifest {
                name,
                binding_name: None,
                parameters: None,
            });
        }
        let (mut name, mut binding_name, mut parameters) = (None, None, None);
        for (key, node) in self.map(node)? {
            match key.text.as_str() {
                "name" => name = Some(self.name(node, "the name of a service instance")?),
                "binding_name" => binding_name = self.optional(node, |n| self.name(n, "a name"))?,
                "parameters" => {
                    parameters = self.optional(node, |n| self.json_map(n))?.map(Secret::new)
                }
                _ => return Err(self.unknown(key, ["name", "binding_name", "parameters"])),
            }
        }
        Ok(ServiceManifest {
            name: self.required(name, node, "name")?,
            binding_name,
            parameters,
        })
    }

    fn docker(&self, node: &Node) -> Read<DockerManifest> {
        let (mut image, mut username) = (None, None);
        for (key, node) in self.map(node)? {
            match key.text.as_str() {
                "image" => image = Some(self.name(node, "an image such as nginx:1")?),
                "username" => username = self.optional(node, |n| self.name(n, "a user name"))?,
                _ => return Err(self.unknown(key, ["image", "username"])),
            }
        }
        Ok(DockerManifest {
            image: self.required(image, node, "image")?,
            username,
        })
    }

    fn metadata(&self, node: &Node) -> Read<MetadataManifest> {
        let mut metadata = MetadataManifest::default();
        for (key, node) in self.map(node)? {
            let texts = |node: &Node| -> Read<BTreeMap<String, Option<String>>> {
                let entries = self.map(node)?.iter();
                entries
                    .map(|(key, node)| {
                        Ok((
                            key.text.clone(),
                            self.optional(node, |n| self.text(n, "a text"))?,
                        ))
                    })
                    .collect()
            };
            match key.text.as_str() {
                "labels" => metadata.labels = self.optional(node, texts)?.unwrap_or_default(),
                "annotations" => {
                    metadata.annotations = self.optional(node, texts)?.unwrap_or_default()
                }
                _ => return Err(self.unknown(key, ["labels", "annotations"])),
            }
        }
        Ok(metadata)
    }

    fn features(&self, node: &Node) -> Read<BTreeMap<String, bool>> {
        self.map(node)?
            .iter()
            .map(|(key, node)| Ok((key.text.clone(), self.bool(node)?)))
            .collect()
    }

    /// Scalars as written; lists and maps become JSON, as in Cloud Foundry.
    fn env(&self, node: &Node) -> Read<BTreeMap<String, Option<Secret<String>>>> {
        let mut env = BTreeMap::new();
        for (key, node) in self.map(node)? {
            if key.text.is_empty() || key.text.contains(['=', '\0']) {
                return Err(self.error(
                    key.position,
                    "the name of an env var must not be empty or contain '='",
                ));
            }
            let value = match &node.value {
                Value::Scalar(scalar) if scalar.is_null() => None,
                Value::Scalar(scalar) => Some(Secret::new(scalar.text.clone())),
                Value::List(_) | Value::Map(_) => Some(Secret::new(json(node).to_string())),
            };
            env.insert(key.text.clone(), value);
        }
        Ok(env)
    }

    fn single_buildpack(&self, node: &Node) -> Read<Setting<Vec<String>>> {
        let name = self.setting(node, |n| self.name(n, "a buildpack"))?;
        Ok(match name {
            Setting::Set(name) if name != "default" => Setting::Set(vec![name]),
            Setting::Set(_) | Setting::Reset => Setting::Reset,
            Setting::Keep => Setting::Keep,
        })
    }

    fn version(&self, node: &Node) -> Read<u32> {
        match self.number(node, "the version 1", 1)? {
            1 => Ok(1),
            other => Err(self.error(
                node.position,
                format!("manifests of version {other} are not known; write 'version: 1'"),
            )),
        }
    }
}
