//! Manifests: apply one to a space, or show what it would change.
//!
//! Applying edits what the next start takes; what runs is left alone, but for the number of instances and routes, which
//! are live settings as in Cloud Foundry.

mod export;

use std::time::Duration;

use model::health::{HealthCheck, HealthCheckKind};
use model::ids::{AppId, SpaceId};
use model::limits::Limits;
use model::manifest::{
    AppManifest, CheckType, Manifest, ManifestError, ProcessSettings, RouteManifest, Setting,
};
use model::secret::Env;
use serde_json::{Value, json};
use store::records::{App, Domain, Job, JobError, JobState, PageRequest, Process};
use store::{NewRoute, RouteFilter, ServiceInstanceFilter};

use crate::{
    Actor, AppChange, Control, Error, NewApp, ProcessChange, Result, Scale, processes, routes,
};

/// One change that a manifest would make, as Cloud Foundry's `manifest_diff` tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestDiff {
    /// `add`, `remove` or `replace`.
    pub op: &'static str,
    /// For example `/applications/0/memory`.
    pub path: String,
    pub was: Option<Value>,
    pub value: Option<Value>,
}

impl Control {
    /// Applies a manifest. All apps are checked before the first one changes; the job tells the rest.
    pub async fn apply_manifest(&self, actor: &Actor, space: SpaceId, yaml: &str) -> Result<Job> {
        self.space_of(space).await?;
        let manifest = Manifest::parse(yaml).map_err(unreadable)?;
        for app in &manifest.applications {
            check(app)?;
        }
        let mut errors = Vec::new();
        for app in manifest.applications {
            let name = app.display_name().to_owned();
            match self.apply_app(actor, space, app).await {
                Ok(()) => {}
                Err(Error::Internal(source)) => return Err(Error::Internal(source)),
                Err(error) => {
                    let (code, title) = match &error {
                        Error::NoCapacity(_) => (170_008, "CF-InsufficientResources"),
                        _ => (10008, "CF-UnprocessableEntity"),
                    };
                    let detail = format!("For application '{name}': {error}");
                    errors.push(JobError {
                        code,
                        title: title.into(),
                        detail,
                    });
                }
            }
        }
        let state = if errors.is_empty() {
            JobState::Complete
        } else {
            JobState::Failed { errors }
        };
        Ok(self
            .store()
            .insert_job("space.apply_manifest", state, Vec::new())
            .await?)
    }

    async fn apply_app(&self, actor: &Actor, space: SpaceId, manifest: AppManifest) -> Result<()> {
        let name = manifest
            .name
            .clone()
            .ok_or_else(|| Error::unprocessable("an application needs a name"))?;
        let app = match self.store().find_app_by_name(space, &name).await? {
            Some(app) => app,
            None => {
                let new = NewApp {
                    space,
                    name,
                    buildpacks: Vec::new(),
                    stack: None,
                    env: Env::new(),
                    metadata: store::records::Metadata::default(),
                };
                self.create_app(actor, new).await?
            }
        };
        self.apply_settings(actor, &app, &manifest).await?;
        self.apply_process(actor, &app, "web", &manifest.web)
            .await?;
        for process in &manifest.processes {
            self.apply_process(actor, &app, &process.kind, &process.settings)
                .await?;
        }
        self.apply_services(actor, &app, &manifest).await?;
        self.apply_routes(actor, &app, &manifest).await
    }

    async fn apply_settings(&self, actor: &Actor, app: &App, manifest: &AppManifest) -> Result<()> {
        let metadata = manifest.metadata.clone().unwrap_or_default();
        let buildpacks = manifest
            .buildpacks
            .clone()
            .into_wish()
            .map(Option::unwrap_or_default);
        let stack = manifest.stack.set().cloned();
        if buildpacks.is_some()
            || stack.is_some()
            || !metadata.labels.is_empty()
            || !metadata.annotations.is_empty()
        {
            let change = AppChange {
                buildpacks,
                stack,
                labels: metadata.labels,
                annotations: metadata.annotations,
                ..AppChange::default()
            };
            self.update_app(actor, app.id, change).await?;
        }
        if !manifest.env.is_empty() {
            let changes = manifest
                .env
                .iter()
                .map(|(name, value)| {
                    (
                        name.clone(),
                        value.as_ref().map(|value| value.expose().clone()),
                    )
                })
                .collect();
            self.patch_env(actor, app.id, changes).await?;
        }
        Ok(())
    }

    async fn apply_process(
        &self,
        actor: &Actor,
        app: &App,
        process_type: &str,
        settings: &ProcessSettings,
    ) -> Result<()> {
        if *settings == ProcessSettings::default() {
            return Ok(());
        }
        let process = self.ensure_process(app.id, process_type).await?;
        let health = health(&process, settings);
        let change = ProcessChange {
            command: settings.command.clone().into_wish(),
            health,
        };
        if change.command.is_some() || change.health.is_some() {
            self.update_process(actor, process.id, change).await?;
        }
        let default = |wish: Option<Option<model::limits::Megabytes>>, default| {
            wish.map(|value| value.unwrap_or(default))
        };
        let scale = Scale {
            instances: settings
                .instances
                .into_wish()
                .map(|value| value.unwrap_or(u32::from(process_type == "web"))),
            memory: default(settings.memory.into_wish(), Limits::DEFAULT.memory),
            disk: default(settings.disk_quota.into_wish(), Limits::DEFAULT.disk),
        };
        let differs = scale
            .instances
            .is_some_and(|instances| instances != process.instances)
            || scale.memory.is_some_and(|memory| memory != process.memory)
            || scale.disk.is_some_and(|disk| disk != process.disk);
        if differs {
            self.scale_process(actor, process.id, scale).await?;
        }
        Ok(())
    }

    async fn apply_services(&self, actor: &Actor, app: &App, manifest: &AppManifest) -> Result<()> {
        for wanted in &manifest.services {
            let filter = ServiceInstanceFilter {
                names: vec![wanted.name.clone()],
                spaces: vec![app.space],
                ..ServiceInstanceFilter::default()
            };
            let found = self
                .store()
                .list_service_instances(&filter, PageRequest::ALL)
                .await?
                .items;
            let Some(instance) = found.into_iter().next() else {
                return Err(Error::Unprocessable(format!(
                    "Service instance '{}' not found; create it first, for example: slipway cups {} -p '{{\"uri\":\"...\"}}'",
                    wanted.name, wanted.name
                )));
            };
            match self
                .create_binding(actor, app.id, instance.id, wanted.binding_name.clone())
                .await
            {
                Ok(_) => {}
                Err(Error::Unprocessable(text)) if text.contains("already bound") => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    async fn apply_routes(&self, actor: &Actor, app: &App, manifest: &AppManifest) -> Result<()> {
        let filter = RouteFilter {
            apps: vec![app.id],
            ..RouteFilter::default()
        };
        let mapped = self
            .store()
            .list_routes(&filter, PageRequest::ALL)
            .await?
            .items;
        if manifest.no_route == Some(true) {
            for route in mapped {
                for destination in route
                    .destinations
                    .iter()
                    .filter(|destination| destination.app == app.id)
                {
                    self.remove_destination(actor, route.id, destination.id)
                        .await?;
                }
            }
            return Ok(());
        }
        let domains = self
            .store()
            .list_domains(&[], &[], PageRequest::ALL)
            .await?
            .items;
        if let Some(routes) = &manifest.routes {
            for route in routes {
                let (domain, host, path) =
                    split_route(route, &domains, self.settings().front_port)?;
                self.map(actor, app, &domain, host, path).await?;
            }
            return Ok(());
        }
        let wants_one = manifest.random_route == Some(true) || manifest.default_route == Some(true);
        if !wants_one || !mapped.is_empty() {
            return Ok(());
        }
        let domain = self.default_domain(actor).await?;
        let base = host_from(&app.name);
        if manifest.random_route == Some(true) {
            return self.map_random(actor, app, &domain, &base).await;
        }
        self.map(actor, app, &domain, base, String::new()).await
    }

    async fn map_random(
        &self,
        actor: &Actor,
        app: &App,
        domain: &Domain,
        base: &str,
    ) -> Result<()> {
        const TRIES: u32 = 10;
        for _ in 0..TRIES {
            let suffix = AppId::random().to_string();
            match self
                .map(
                    actor,
                    app,
                    domain,
                    format!("{base}-{}", &suffix[..8]),
                    String::new(),
                )
                .await
            {
                Err(Error::Conflict(_)) => {}
                other => return other,
            }
        }
        Err(Error::unprocessable("no free random route was found"))
    }

    /// Leads a route to the app's `web` process, making the route where it is new. A route of another space is not taken.
    async fn map(
        &self,
        actor: &Actor,
        app: &App,
        domain: &Domain,
        host: String,
        path: String,
    ) -> Result<()> {
        let filter = RouteFilter {
            domains: vec![domain.id],
            hosts: Some(vec![host.to_lowercase()]),
            paths: Some(vec![path.clone()]),
            ..RouteFilter::default()
        };
        let found = self
            .store()
            .list_routes(&filter, PageRequest::ALL)
            .await?
            .items
            .into_iter()
            .next();
        let route = match found {
            Some(route) if route.space != app.space => {
                return Err(Error::Conflict(format!(
                    "The route {} is already in use; choose another with --route or --random-route",
                    self.route_url(&route)
                )));
            }
            Some(route) => route,
            None => {
                let new = NewRoute {
                    space: app.space,
                    domain: domain.id,
                    host,
                    path,
                };
                self.create_route(actor, new).await?
            }
        };
        let leads_here = |destination: &store::records::Destination| {
            destination.app == app.id && destination.process_type == "web"
        };
        if !route.destinations.iter().any(leads_here) {
            self.add_destinations(actor, route.id, &[(app.id, "web".into())])
                .await?;
        }
        Ok(())
    }

    /// What applying would change. Values of env are not part of it: they are secrets.
    pub async fn manifest_diff(
        &self,
        _: &Actor,
        space: SpaceId,
        yaml: &str,
    ) -> Result<Vec<ManifestDiff>> {
        self.space_of(space).await?;
        let manifest = Manifest::parse(yaml).map_err(unreadable)?;
        let mut diffs = Vec::new();
        for (index, wanted) in manifest.applications.iter().enumerate() {
            let at = |key: &str| format!("/applications/{index}/{key}");
            let name = wanted.name.clone().unwrap_or_default();
            let Some(app) = self.store().find_app_by_name(space, &name).await? else {
                diffs.push(ManifestDiff {
                    op: "add",
                    path: at("name"),
                    was: None,
                    value: Some(json!(name)),
                });
                let switches = [
                    ("default-route", wanted.default_route),
                    ("no-route", wanted.no_route),
                    ("random-route", wanted.random_route),
                ];
                let switches = switches
                    .into_iter()
                    .filter_map(|(key, wish)| Some((key, json!(wish?))));
                for (key, value) in settings(&wanted.web).into_iter().chain(switches) {
                    diffs.push(ManifestDiff {
                        op: "add",
                        path: at(key),
                        was: None,
                        value: Some(value),
                    });
                }
                continue;
            };
            let processes = self.processes_of(app.id).await?;
            if let Some(web) = processes
                .iter()
                .find(|process| process.process_type == "web")
            {
                let known = present(web);
                for (key, value) in settings(&wanted.web) {
                    let was = known
                        .iter()
                        .find(|(known, _)| *known == key)
                        .map(|(_, value)| value.clone());
                    match was {
                        Some(was) if was == value => {}
                        Some(was) => diffs.push(ManifestDiff {
                            op: "replace",
                            path: at(key),
                            was: Some(was),
                            value: Some(value),
                        }),
                        None => diffs.push(ManifestDiff {
                            op: "add",
                            path: at(key),
                            was: None,
                            value: Some(value),
                        }),
                    }
                }
            }
        }
        Ok(diffs)
    }
}

/// What this platform cannot do (yet) is said before anything changes.
fn check(app: &AppManifest) -> Result<()> {
    let refuse = |key: &str, why: &str| {
        let place = app
            .position(key)
            .map(|position| format!(" (manifest {position})"))
            .unwrap_or_default();
        Err(Error::Unprocessable(format!(
            "For application '{}': {key} {why}{place}",
            app.display_name()
        )))
    };
    if app.docker.is_some() {
        return refuse(
            "docker",
            "is not supported: this platform runs source code and jars",
        );
    }
    if app
        .lifecycle
        .as_deref()
        .is_some_and(|lifecycle| lifecycle != "buildpack")
    {
        return refuse("lifecycle", "must be 'buildpack'");
    }
    if !app.sidecars.is_empty() {
        return refuse("sidecars", "are not supported");
    }
    let all =
        std::iter::once(&app.web).chain(app.processes.iter().map(|process| &process.settings));
    for settings in all {
        if settings
            .readiness_health_check_type
            .set()
            .is_some_and(|kind| *kind != CheckType::Process)
        {
            return refuse(
                "readiness-health-check-type",
                "other than 'process' is not supported",
            );
        }
        processes::check_scale(Scale {
            instances: settings.instances.set().copied(),
            memory: settings.memory.set().copied(),
            disk: settings.disk_quota.set().copied(),
        })?;
        if let Some(command) = settings.command.set() {
            processes::check_command(command)?;
        }
    }
    if let Setting::Set(names) = &app.buildpacks {
        crate::builds::check_buildpacks(names)?;
    }
    if app.no_route == Some(true) && (app.routes.is_some() || app.random_route == Some(true)) {
        return refuse("no-route", "cannot be combined with routes or random-route");
    }
    Ok(())
}

/// The process's health check with what the manifest says of it, where that is anything.
fn health(process: &Process, settings: &ProcessSettings) -> Option<HealthCheck> {
    let default = HealthCheck::default_for(&process.process_type);
    let mut health = process.health.clone();
    match settings.health_check_type {
        Setting::Keep => {}
        Setting::Reset => health.kind = default.kind.clone(),
        Setting::Set(CheckType::Port) => health.kind = HealthCheckKind::Port,
        Setting::Set(CheckType::Process) => health.kind = HealthCheckKind::Process,
        Setting::Set(CheckType::Http) => {
            if !matches!(health.kind, HealthCheckKind::Http { .. }) {
                health.kind = HealthCheckKind::Http {
                    endpoint: "/".into(),
                };
            }
        }
    }
    if let (HealthCheckKind::Http { endpoint }, Some(wanted)) =
        (&mut health.kind, settings.health_check_http_endpoint.set())
    {
        endpoint.clone_from(wanted);
    }
    let seconds = |wish: Setting<u32>, default: Duration| {
        wish.into_wish()
            .map(|value| value.map_or(default, |value| Duration::from_secs(u64::from(value))))
    };
    if let Some(timeout) = seconds(settings.timeout, default.start_timeout) {
        health.start_timeout = timeout;
    }
    if let Some(timeout) = seconds(
        settings.health_check_invocation_timeout,
        default.invocation_timeout,
    ) {
        health.invocation_timeout = timeout;
    }
    (health != process.health).then_some(health)
}

/// The settings of a process that a diff shows, as a manifest writes them.
fn settings(settings: &ProcessSettings) -> Vec<(&'static str, Value)> {
    let mut shown = Vec::new();
    let mut show = |key, value: Option<Value>| shown.extend(value.map(|value| (key, value)));
    show("command", settings.command.set().map(|value| json!(value)));
    show(
        "instances",
        settings.instances.set().map(|value| json!(value)),
    );
    show(
        "memory",
        settings.memory.set().map(|value| json!(value.to_string())),
    );
    show(
        "disk_quota",
        settings
            .disk_quota
            .set()
            .map(|value| json!(value.to_string())),
    );
    show(
        "health-check-type",
        settings
            .health_check_type
            .set()
            .map(|value| json!(value.name())),
    );
    show("timeout", settings.timeout.set().map(|value| json!(value)));
    shown
}

fn present(process: &Process) -> Vec<(&'static str, Value)> {
    let kind = match process.health.kind {
        HealthCheckKind::Port => "port",
        HealthCheckKind::Http { .. } => "http",
        HealthCheckKind::Process => "process",
    };
    let mut shown = vec![
        ("instances", json!(process.instances)),
        ("memory", json!(process.memory.to_string())),
        ("disk_quota", json!(process.disk.to_string())),
        ("health-check-type", json!(kind)),
        ("timeout", json!(process.health.start_timeout.as_secs())),
    ];
    shown.extend(
        process
            .command
            .as_ref()
            .map(|command| ("command", json!(command))),
    );
    shown
}

/// Splits `host.domain:port/path` at the longest known domain.
fn split_route(
    route: &RouteManifest,
    domains: &[Domain],
    front_port: u16,
) -> Result<(Domain, String, String)> {
    let text = route.route.trim();
    let text = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .unwrap_or(text);
    let (name, path) = match text.find('/') {
        Some(slash) => (
            &text[..slash],
            text[slash..].trim_end_matches('/').to_owned(),
        ),
        None => (text, String::new()),
    };
    let name = match name.split_once(':') {
        None => name,
        Some((name, port)) if port == front_port.to_string() => name,
        Some((_, port)) => {
            return Err(Error::Unprocessable(format!(
                "route '{}': port {port} is not the platform's; leave the port out",
                route.route
            )));
        }
    };
    let name = name.to_lowercase();
    let mut candidates = domains.iter().filter_map(|domain| {
        let host = name.strip_suffix(&domain.name.to_lowercase())?;
        match host.strip_suffix('.') {
            Some(host) => Some((domain, host.to_owned())),
            None if host.is_empty() => Some((domain, String::new())),
            None => None,
        }
    });
    let Some((domain, host)) = candidates
        .by_ref()
        .max_by_key(|(domain, _)| domain.name.len())
    else {
        let known = domains
            .iter()
            .map(|domain| domain.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        return Err(Error::Unprocessable(format!(
            "route '{}' ends in no domain of this platform: {known}",
            route.route
        )));
    };
    routes::check_host(&host)?;
    routes::check_path(&path)?;
    Ok((domain.clone(), host, path))
}

/// An app's name as a host: lower case, other characters become hyphens.
fn host_from(name: &str) -> String {
    let mapped = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect::<String>();
    let host = mapped
        .trim_matches('-')
        .chars()
        .take(63)
        .collect::<String>();
    if host.is_empty() {
        "app".into()
    } else {
        host.trim_end_matches('-').to_owned()
    }
}

fn unreadable(error: ManifestError) -> Error {
    let hint = error
        .hint
        .as_ref()
        .map(|hint| format!(" {hint}"))
        .unwrap_or_default();
    Error::Unprocessable(format!(
        "manifest.yml:{}:{} {}{hint}",
        error.line, error.column, error.message
    ))
}

#[cfg(test)]
mod tests {
    use model::ids::DomainId;

    use super::*;

    fn route(text: &str) -> RouteManifest {
        RouteManifest {
            route: text.into(),
            protocol: None,
            options: serde_json::Map::new(),
        }
    }

    #[test]
    fn routes_split_at_the_longest_domain() {
        let domain = |name: &str| Domain {
            id: DomainId::random(),
            name: name.into(),
            created_us: 0,
        };
        let domains = [domain("example.com"), domain("apps.example.com")];
        for (text, want) in [
            (
                "shop.apps.example.com",
                Some(("apps.example.com", "shop", "")),
            ),
            ("a.b.example.com/x/", Some(("example.com", "a.b", "/x"))),
            (
                "http://apps.example.com:8080",
                Some(("apps.example.com", "", "")),
            ),
            ("shop.apps.example.com:9", None),
            ("shopexample.com", None),
            ("other.org", None),
        ] {
            let split = split_route(&route(text), &domains, 8080).ok();
            let split = split
                .as_ref()
                .map(|(domain, host, path)| (domain.name.as_str(), host.as_str(), path.as_str()));
            assert_eq!(split, want, "{text}");
        }
    }

    #[test]
    fn app_names_become_hosts() {
        for (name, want) in [
            ("Guest_Book 2", "guest-book-2"),
            ("--", "app"),
            ("ünïcode", "n-code"),
        ] {
            assert_eq!(host_from(name), want);
        }
    }

    #[test]
    fn a_manifest_key_that_is_not_supported_says_where_it_stands() {
        let manifest =
            Manifest::parse("applications:\n- name: a\n  docker:\n    image: x\n").expect("parses");
        let error = check(&manifest.applications[0])
            .expect_err("refused")
            .to_string();
        assert!(error.contains("docker") && error.contains('3'), "{error}");
    }
}
