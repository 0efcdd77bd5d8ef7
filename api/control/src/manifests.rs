//! Manifests: apply one to a space, or show what it would change.
//!
//! Applying edits what the next start takes; what runs is left alone, but for the number of instances and routes, which
//! are live settings as in Cloud Foundry.

mod diff;
mod export;
mod routing;

pub use diff::ManifestDiff;

use std::time::Duration;

use model::health::{HealthCheck, HealthCheckKind};
use model::ids::SpaceId;
use model::limits::Limits;
use model::manifest::{AppManifest, CheckType, Manifest, ManifestError, ProcessSettings, Setting};
use model::secret::Env;
use store::ServiceInstanceFilter;
use store::records::{App, Job, JobError, JobState, PageRequest, Process};

use crate::{Actor, AppChange, Control, Error, NewApp, ProcessChange, Result, Scale, processes};

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
            // The manifest's -1 is no number of bytes.
            log_rate: settings
                .log_rate_limit
                .into_wish()
                .map(|rate| rate.and_then(|rate| u64::try_from(rate).ok())),
        };
        let differs = scale
            .instances
            .is_some_and(|instances| instances != process.instances)
            || scale.memory.is_some_and(|memory| memory != process.memory)
            || scale.disk.is_some_and(|disk| disk != process.disk)
            || scale.log_rate.is_some_and(|rate| rate != process.log_rate);
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
            log_rate: None,
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
    use super::*;

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
