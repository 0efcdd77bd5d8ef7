//! Apps: create, change, delete, and their variables.

use std::collections::BTreeMap;

use model::health::HealthCheck;
use model::ids::{AppId, DropletId, ProcessId, SpaceId};
use model::limits::Limits;
use model::secret::Env;
use serde_json::{Value, json};
use store::records::{
    App, AppState, Droplet, EnvironmentGroup, Job, JobState, Metadata, Page, PageRequest, Process,
};
use store::{AppFilter, AppUpdate, DropletFilter};

use crate::control::Target;
use crate::error::OrNotFound;
use crate::{Actor, Control, Error, Result, builds, env};

#[derive(Debug, Clone)]
pub struct NewApp {
    pub space: SpaceId,
    pub name: String,
    pub buildpacks: Vec<String>,
    pub stack: Option<String>,
    pub env: Env,
    pub metadata: Metadata,
}

/// What changes of an app; `None` leaves it.
#[derive(Debug, Clone, Default)]
pub struct AppChange {
    pub name: Option<String>,
    pub buildpacks: Option<Vec<String>>,
    pub stack: Option<String>,
    /// Replaces labels and annotations by name; an absent value removes the name.
    pub labels: BTreeMap<String, Option<String>>,
    pub annotations: BTreeMap<String, Option<String>>,
}

/// The variables of an app by origin.
#[derive(Debug, Clone)]
pub struct AppEnv {
    pub environment_variables: Env,
    /// What the operator gives every instance, and every build.
    pub running_env: Env,
    pub staging_env: Env,
    /// `{"VCAP_SERVICES": {...}}`
    pub system_env: Value,
    /// `{"VCAP_APPLICATION": {...}}`
    pub application_env: Value,
}

const MAX_ENV_BYTES: usize = 512 * 1024;
const MAX_ENV_NAMES: usize = 2_000;

impl Control {
    pub async fn list_apps(
        &self,
        _: &Actor,
        filter: &AppFilter,
        page: PageRequest,
    ) -> Result<Page<App>> {
        Ok(self.store().list_apps(filter, page).await?)
    }

    pub async fn app(&self, _: &Actor, id: AppId) -> Result<App> {
        self.store().find_app(id).await.or_not_found("App")
    }

    /// Makes a stopped app with a `web` process.
    pub async fn create_app(&self, actor: &Actor, new: NewApp) -> Result<App> {
        let space = self.space_of(new.space).await?;
        check_name(&new.name)?;
        check_env(&new.env)?;
        builds::check_buildpacks(&new.buildpacks)?;
        check_stack(new.stack.as_deref())?;
        let now = store::now_us();
        let app = App {
            id: AppId::random(),
            space: new.space,
            name: new.name,
            state: AppState::Stopped,
            buildpacks: new.buildpacks,
            stack: new.stack,
            current_droplet: None,
            env: new.env,
            metadata: new.metadata,
            created_us: now,
            updated_us: now,
        };
        self.store()
            .insert_app(&app)
            .await
            .map_err(|error| name_taken(error, &app.name))?;
        self.ensure_process(app.id, "web").await?;
        let target = Target {
            guid: app.id.to_string(),
            kind: "app",
            name: &app.name,
            space: Some(space.id),
        };
        self.audit(actor, "audit.app.create", target, json!({}))
            .await;
        Ok(app)
    }

    pub async fn update_app(&self, actor: &Actor, id: AppId, change: AppChange) -> Result<App> {
        let app = self.app(actor, id).await?;
        if let Some(name) = &change.name {
            check_name(name)?;
        }
        if let Some(buildpacks) = &change.buildpacks {
            builds::check_buildpacks(buildpacks)?;
        }
        check_stack(change.stack.as_deref())?;
        let mut metadata = app.metadata.clone();
        patch(&mut metadata.labels, change.labels);
        patch(&mut metadata.annotations, change.annotations);
        let name = change.name.clone().unwrap_or(app.name);
        let update = AppUpdate {
            name: change.name,
            buildpacks: change.buildpacks,
            metadata: Some(metadata),
            ..AppUpdate::default()
        };
        let app = self
            .store()
            .update_app(id, &update)
            .await
            .map_err(|error| name_taken(error, &name))?;
        self.audit_app(actor, "audit.app.update", &app, json!({}))
            .await;
        Ok(app)
    }

    /// Stops and deletes an app with its packages, droplets, releases and tasks. Routes and services stay.
    pub async fn delete_app(&self, actor: &Actor, id: AppId) -> Result<Job> {
        let app = self.app(actor, id).await?;
        self.fleet().cancel_tasks_of(id).await?;
        let freed = self.store().delete_app(id).await.or_not_found("App")?;
        self.collector().freed(freed);
        self.fleet().refresh_app(id).await?;
        self.reload_routes().await?;
        self.audit_app(actor, "audit.app.delete-request", &app, json!({}))
            .await;
        Ok(self
            .store()
            .insert_job("app.delete", JobState::Complete, Vec::new())
            .await?)
    }

    pub async fn app_env(&self, actor: &Actor, id: AppId) -> Result<AppEnv> {
        let app = self.app(actor, id).await?;
        let surroundings = self.surroundings(&app).await?;
        let web = self.app_process(actor, id, "web").await?;
        Ok(AppEnv {
            system_env: json!({ "VCAP_SERVICES": env::vcap_services(&surroundings.services) }),
            application_env: json!({ "VCAP_APPLICATION": env::vcap_application(&surroundings, &app, &web) }),
            running_env: surroundings.group,
            staging_env: self
                .store()
                .environment_group(EnvironmentGroup::Staging)
                .await?,
            environment_variables: app.env,
        })
    }

    /// Sets and removes (`None`) variables. Running instances keep theirs until the next start.
    pub async fn patch_env(
        &self,
        actor: &Actor,
        id: AppId,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<Env> {
        let known = self.app(actor, id).await?;
        let surroundings = self.surroundings(&known).await?;
        let change = |known: &Env| -> Result<Env> {
            let env = merged(known, &changes);
            check_env(&env)?;
            env::limits::check_whole(&env, &surroundings.services)?;
            Ok(env)
        };
        let app = self
            .store()
            .change_env(id, change)
            .await
            .or_not_found("App")??;
        let names = changes.keys().collect::<Vec<_>>();
        self.audit_app(
            actor,
            "audit.app.update",
            &app,
            json!({ "request": { "environment_variables": names } }),
        )
        .await;
        Ok(app.env)
    }

    /// Makes a droplet the one that the next start runs, and makes the processes that it has commands for.
    pub async fn set_current_droplet(
        &self,
        actor: &Actor,
        id: AppId,
        droplet: DropletId,
    ) -> Result<Droplet> {
        let app = self.app(actor, id).await?;
        let droplet = self.assignable_droplet(id, droplet).await?;
        let update = AppUpdate {
            current_droplet: Some(droplet.id),
            ..AppUpdate::default()
        };
        self.store()
            .update_app(id, &update)
            .await
            .map_err(|error| match error {
                store::Error::Missing => unassignable(),
                other => other.into(),
            })?;
        self.audit_droplet(actor, &app, droplet.id).await;
        Ok(droplet)
    }

    /// A droplet of this app, whose process types the app has from now on.
    pub(crate) async fn assignable_droplet(&self, app: AppId, id: DropletId) -> Result<Droplet> {
        let droplet = self
            .store()
            .find_droplet(id)
            .await?
            .filter(|found| found.app == app)
            .ok_or_else(unassignable)?;
        for process_type in droplet.image.process_types.keys() {
            self.ensure_process(app, process_type).await?;
        }
        Ok(droplet)
    }

    pub(crate) async fn audit_droplet(&self, actor: &Actor, app: &App, droplet: DropletId) {
        let data = json!({ "request": { "droplet_guid": droplet.to_string() } });
        self.audit_app(actor, "audit.app.droplet.mapped", app, data)
            .await;
    }

    pub async fn current_droplet(&self, actor: &Actor, id: AppId) -> Result<Droplet> {
        let app = self.app(actor, id).await?;
        self.droplet_of(&app)
            .await?
            .ok_or(Error::NotFound { what: "Droplet" })
    }

    pub async fn droplet(&self, _: &Actor, id: DropletId) -> Result<Droplet> {
        self.store().find_droplet(id).await.or_not_found("Droplet")
    }

    pub async fn list_droplets(
        &self,
        _: &Actor,
        filter: &DropletFilter,
        page: PageRequest,
    ) -> Result<Page<Droplet>> {
        Ok(self.store().list_droplets(filter, page).await?)
    }

    pub(crate) async fn droplet_of(&self, app: &App) -> Result<Option<Droplet>> {
        match app.current_droplet {
            Some(droplet) => Ok(self.store().find_droplet(droplet).await?),
            None => Ok(None),
        }
    }

    /// The process of this type, made with defaults where it is new.
    pub(crate) async fn ensure_process(&self, app: AppId, process_type: &str) -> Result<Process> {
        let processes = self.processes_of(app).await?;
        if let Some(known) = processes
            .into_iter()
            .find(|process| process.process_type == process_type)
        {
            return Ok(known);
        }
        let now = store::now_us();
        let web = process_type == "web";
        let process = Process {
            id: if web {
                app.web_process()
            } else {
                ProcessId::random()
            },
            app,
            process_type: process_type.to_owned(),
            command: None,
            instances: u32::from(web),
            memory: Limits::DEFAULT.memory,
            disk: Limits::DEFAULT.disk,
            log_rate: None,
            health: HealthCheck::default_for(process_type),
            created_us: now,
            updated_us: now,
        };
        match self.store().insert_process(&process).await {
            Ok(()) => Ok(process),
            // Somebody else made it at the same moment.
            Err(store::Error::Conflict(_)) => {
                let processes = self.processes_of(app).await?;
                let found = processes
                    .into_iter()
                    .find(|process| process.process_type == process_type);
                found.ok_or(Error::NotFound { what: "Process" })
            }
            Err(other) => Err(other.into()),
        }
    }

    pub(crate) async fn audit_app(&self, actor: &Actor, event_type: &str, app: &App, data: Value) {
        let target = Target {
            guid: app.id.to_string(),
            kind: "app",
            name: &app.name,
            space: Some(app.space),
        };
        self.audit(actor, event_type, target, data).await;
    }
}

pub(crate) fn merged(known: &Env, changes: &BTreeMap<String, Option<String>>) -> Env {
    let mut merged = known
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect::<Vec<_>>();
    for (name, value) in changes {
        match (value, merged.iter_mut().find(|(known, _)| known == name)) {
            (Some(value), Some(entry)) => value.clone_into(&mut entry.1),
            (Some(value), None) => merged.push((name.clone(), value.clone())),
            (None, _) => merged.retain(|(known, _)| known != name),
        }
    }
    Env::from_iter(merged)
}

pub(crate) fn patch(
    known: &mut BTreeMap<String, String>,
    changes: BTreeMap<String, Option<String>>,
) {
    for (name, value) in changes {
        match value {
            Some(value) => known.insert(name, value),
            None => known.remove(&name),
        };
    }
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    let printable = !name.trim().is_empty() && !name.chars().any(char::is_control);
    if printable && name.len() <= 200 {
        Ok(())
    } else {
        Err(Error::unprocessable(
            "name must be 1 to 200 printable characters",
        ))
    }
}

fn check_stack(stack: Option<&str>) -> Result<()> {
    match stack {
        None => Ok(()),
        Some(stack) if stack == "host" || stack.starts_with("host-") => Ok(()),
        Some(stack) => Err(Error::Unprocessable(format!(
            "Stack must be an existing stack: '{stack}' is unknown, this platform has 'host'; leave the stack out"
        ))),
    }
}

/// What the kernel and the platform can carry to a process.
pub(crate) fn check_env(env: &Env) -> Result<()> {
    let mut total = 0;
    for (count, (name, value)) in env.iter().enumerate() {
        if count >= MAX_ENV_NAMES {
            return Err(Error::Unprocessable(format!(
                "an app may have at most {MAX_ENV_NAMES} environment variables"
            )));
        }
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Error::Unprocessable(format!(
                "'{name}' can't be the name of an environment variable"
            )));
        }
        if name.starts_with("VCAP_") || name.starts_with("vcap_") {
            return Err(Error::Unprocessable(format!(
                "environment variable '{name}': names starting with VCAP_ are the platform's"
            )));
        }
        if name == "PORT" {
            return Err(Error::unprocessable(
                "environment variable 'PORT': the platform sets it; an app reads it",
            ));
        }
        if value.contains('\0') {
            return Err(Error::Unprocessable(format!(
                "the value of '{name}' holds a NUL byte, which no process can receive"
            )));
        }
        env::limits::check_variable(name, value)?;
        total += name.len() + value.len();
    }
    if total > MAX_ENV_BYTES {
        return Err(Error::Unprocessable(format!(
            "the environment variables are {total} bytes together; at most {MAX_ENV_BYTES} are possible"
        )));
    }
    Ok(())
}

fn name_taken(error: store::Error, name: &str) -> Error {
    match error {
        store::Error::Conflict(_) => Error::Conflict(format!(
            "App with the name '{name}' already exists. The app name must be unique in space."
        )),
        store::Error::Missing => Error::NotFound { what: "App" },
        other => other.into(),
    }
}

fn unassignable() -> Error {
    Error::unprocessable(
        "Unable to assign current droplet. Ensure the droplet exists and belongs to this app.",
    )
}
