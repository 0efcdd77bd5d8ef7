//! Tree → [`Manifest`]: every key known, every value of the kind its key needs.

use std::collections::BTreeMap;

use super::error::{ManifestError, Position};
use super::keys::{APP_ONLY, GONE, PROCESS, TOP, nearest};
use super::node::{Key, Node, Scalar, Value, short};
use super::{
    AppManifest, CheckType, DockerManifest, Manifest, MetadataManifest, ProcessManifest,
    ProcessSettings, RouteManifest, ServiceManifest, Setting, SidecarManifest,
};
use crate::limits::Megabytes;
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

    fn megabytes(&self, node: &Node) -> Read<Megabytes> {
        let text = self.text(node, "a size such as 512M or 1G")?;
        let size: Megabytes = text.parse().map_err(|_| {
            self.error(
                node.position,
                format!(
                    "expected a size such as 512M or 1G, found '{}'",
                    short(&text)
                ),
            )
        })?;
        if size.0 == 0 {
            Err(self.error(node.position, "a size must be at least 1M"))
        } else {
            Ok(size)
        }
    }

    /// `-1`, or a number of bytes with an optional unit.
    fn log_rate(&self, node: &Node) -> Read<i64> {
        let text = self.text(node, "a rate such as 16K, or -1 for no limit")?;
        let upper = text.trim().to_ascii_uppercase();
        let digits = upper.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor: Option<i64> = match &upper[digits.len()..] {
            "" | "B" => Some(1),
            "K" | "KB" => Some(1024),
            "M" | "MB" => Some(1024 * 1024),
            "G" | "GB" => Some(1024 * 1024 * 1024),
            _ => None,
        };
        let rate = digits
            .parse::<i64>()
            .ok()
            .zip(factor)
            .and_then(|(count, factor)| count.checked_mul(factor));
        rate.filter(|rate| *rate >= -1).ok_or_else(|| {
            self.error(
                node.position,
                format!(
                    "expected a rate such as 16K, or -1 for no limit, found '{}'",
                    short(&text)
                ),
            )
        })
    }

    fn check_type(&self, node: &Node) -> Read<CheckType> {
        Ok(
            match self
                .one_of(node, &["port", "http", "process", "none"])?
                .as_str()
            {
                "port" => CheckType::Port,
                "http" => CheckType::Http,
                _ => CheckType::Process,
            },
        )
    }

    fn one_of(&self, node: &Node, allowed: &[&str]) -> Read<String> {
        let list = allowed.join(", ");
        let text = self.text(node, &format!("one of {list}"))?;
        if allowed.contains(&text.as_str()) {
            return Ok(text);
        }
        Err(self.error(
            node.position,
            format!("expected one of {list}, found '{}'", short(&text)),
        ))
    }

    fn number(&self, node: &Node, what: &str, least: u32) -> Read<u32> {
        let Value::Scalar(scalar) = &node.value else {
            return Err(self.expected(what, node));
        };
        match scalar.text.parse::<u32>() {
            Ok(number) if number >= least => Ok(number),
            Ok(_) => Err(self.error(
                node.position,
                format!("expected {what} of at least {least}"),
            )),
            Err(_) => Err(self.expected(what, node)),
        }
    }

    fn bool(&self, node: &Node) -> Read<bool> {
        match &node.value {
            Value::Scalar(scalar) => scalar
                .as_bool()
                .ok_or_else(|| self.expected("true or false", node)),
            _ => Err(self.expected("true or false", node)),
        }
    }

    /// A text that must not be empty.
    fn name(&self, node: &Node, what: &str) -> Read<String> {
        let text = self.text(node, what)?;
        if text.trim().is_empty() {
            Err(self.expected(what, node))
        } else {
            Ok(text)
        }
    }

    fn text(&self, node: &Node, what: &str) -> Read<String> {
        match &node.value {
            Value::Scalar(scalar) if !scalar.is_null() => Ok(scalar.text.clone()),
            _ => Err(self.expected(what, node)),
        }
    }

    fn setting<T>(&self, node: &Node, read: impl FnOnce(&Node) -> Read<T>) -> Read<Setting<T>> {
        Ok(self
            .optional(node, read)?
            .map_or(Setting::Reset, Setting::Set))
    }

    fn optional<T>(&self, node: &Node, read: impl FnOnce(&Node) -> Read<T>) -> Read<Option<T>> {
        match &node.value {
            Value::Scalar(scalar) if scalar.is_null() => Ok(None),
            _ => read(node).map(Some),
        }
    }

    fn list<T>(&self, node: &Node, read: impl Fn(&Node) -> Read<T>) -> Read<Vec<T>> {
        Ok(self
            .optional(node, |n| self.each(n, read))?
            .unwrap_or_default())
    }

    fn each<T>(&self, node: &Node, read: impl Fn(&Node) -> Read<T>) -> Read<Vec<T>> {
        match &node.value {
            Value::List(items) => items.iter().map(read).collect(),
            _ => Err(self.expected("a list", node)),
        }
    }

    fn map<'n>(&self, node: &'n Node) -> Read<&'n [(Key, Node)]> {
        match &node.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.expected("a map of keys and values", node)),
        }
    }

    fn json_map(&self, node: &Node) -> Read<JsonMap> {
        self.map(node)?;
        match json(node) {
            serde_json::Value::Object(map) => Ok(map),
            _ => Err(self.expected("a map of keys and values", node)),
        }
    }

    fn required<T>(&self, value: Option<T>, node: &Node, key: &str) -> Read<T> {
        value.ok_or_else(|| self.error(node.position, format!("the key '{key}' is missing here")))
    }

    fn unknown<'k>(
        &self,
        key: &Key,
        known: impl IntoIterator<Item = &'k str> + Clone,
    ) -> ManifestError {
        let shown = short(&key.text);
        if let Some((_, instead)) = GONE.iter().find(|(gone, _)| *gone == key.text) {
            let error = self.error(
                key.position,
                format!("the key '{shown}' is no longer known"),
            );
            return error.with_hint(*instead);
        }
        match nearest(&key.text, known.clone()) {
            Some(meant) => self.error(
                key.position,
                format!("unknown key '{shown}' — did you mean '{meant}'?"),
            ),
            None => {
                let mut known: Vec<_> = known.into_iter().collect();
                known.sort_unstable();
                let hint = format!("known here: {}", known.join(", "));
                self.error(key.position, format!("unknown key '{shown}'"))
                    .with_hint(hint)
            }
        }
    }

    fn expected(&self, what: &str, node: &Node) -> ManifestError {
        let found = match &node.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
            Value::Scalar(scalar) => format!("'{}'", short(&scalar.text)),
        };
        self.error(node.position, format!("expected {what}, found {found}"))
    }

    fn error(&self, at: Position, message: impl Into<String>) -> ManifestError {
        ManifestError::at(self.text, at, message)
    }
}

/// Plain scalars become what they mean in JSON.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.text.clone(), json(node)))
            .collect::<JsonMap>()
            .into(),
        Value::Scalar(scalar) => json_scalar(scalar),
    }
}

fn json_scalar(scalar: &Scalar) -> serde_json::Value {
    if scalar.is_null() {
        return serde_json::Value::Null;
    }
    if let Some(value) = scalar.as_bool() {
        return value.into();
    }
    match serde_json::from_str::<serde_json::Number>(&scalar.text) {
        Ok(number) if scalar.plain => number.into(),
        _ => scalar.text.clone().into(),
    }
}
