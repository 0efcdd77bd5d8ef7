//! Start, stop and restart: from an app's present settings to a release and its desired LRPs.

use std::collections::BTreeMap;

use model::ids::{AppId, VersionId};
use model::limits::Limits;
use serde_json::{Value, json};
use store::records::{App, AppState, DesiredLrp, Droplet, LrpSpec, Process, Revision, Snapshot};

use crate::env::{self, Surroundings};
use crate::{Actor, Control, Error, Result};

impl Control {
    /// Starts a stopped app; a started one stays as it is.
    pub async fn start_app(&self, actor: &Actor, id: AppId) -> Result<App> {
        let app = self.app(actor, id).await?;
        if app.state == AppState::Stopped {
            self.desire(&app).await?;
            self.audit_app(actor, "audit.app.start", &app, json!({}))
                .await;
        }
        self.app(actor, id).await
    }

    /// Stops an app's instances. Asking twice is fine.
    pub async fn stop_app(&self, actor: &Actor, id: AppId) -> Result<App> {
        let app = self.app(actor, id).await?;
        if app.state == AppState::Started {
            self.store().undesire_app(id).await?;
            self.fleet().refresh_app(id).await?;
            self.audit_app(actor, "audit.app.stop", &app, json!({}))
                .await;
        }
        self.app(actor, id).await
    }

    /// Replaces all instances by new ones with the app's present droplet and settings.
    pub async fn restart_app(&self, actor: &Actor, id: AppId) -> Result<App> {
        let app = self.app(actor, id).await?;
        self.desire(&app).await?;
        let event = if app.state == AppState::Started {
            "audit.app.restart"
        } else {
            "audit.app.start"
        };
        self.audit_app(actor, event, &app, json!({})).await;
        self.app(actor, id).await
    }

    async fn desire(&self, app: &App) -> Result<()> {
        let droplet = self
            .droplet_of(app)
            .await?
            .ok_or_else(|| Error::unprocessable("Assign a droplet before starting this app."))?;
        let processes = self.processes_of(app.id).await?;
        for process in processes.iter().filter(|process| process.instances > 0) {
            self.check_fits_some_cell(process.memory)?;
        }
        let surroundings = self.surroundings(app).await?;
        let snapshot = snapshot(&surroundings, app, &droplet, &processes)?;
        let revision = self
            .store()
            .release(app.id, &snapshot, |newest| describe(newest, &snapshot))
            .await?;
        let lrps = processes
            .iter()
            .filter_map(|process| {
                let spec = snapshot.processes.get(&process.process_type)?.clone();
                Some(desired_lrp(process, spec, &revision))
            })
            .collect::<Vec<_>>();
        self.store().desire_app(app.id, &lrps).await?;
        Ok(self.fleet().refresh_app(app.id).await?)
    }

    /// Things a person should know before the app finds out: a bound address that means the instance itself.
    pub async fn app_warnings(&self, actor: &Actor, id: AppId) -> Result<Vec<String>> {
        if self.fleet().isolation() == Some(model::protocol::cell::Isolation::Process) {
            return Ok(Vec::new());
        }
        let app = self.app(actor, id).await?;
        let surroundings = self.surroundings(&app).await?;
        let of_services = surroundings.services.iter().flat_map(|(_, instance)| {
            let hosts = env::uris(instance.credentials.expose()).filter_map(env::loopback_host);
            hosts.map(move |host| format!("service '{}'", instance.name) + " names " + &host)
        });
        let of_env = app.env.iter().filter_map(|(name, value)| {
            env::loopback_host(value).map(|host| format!("variable '{name}' names {host}"))
        });
        let mut warnings = of_services.chain(of_env).collect::<Vec<_>>();
        warnings.dedup();
        for warning in &mut warnings {
            warning.push_str(
                ", which inside an instance is the instance itself; a service on the host is reached as host.slipway.internal",
            );
        }
        Ok(warnings)
    }
}

/// What the release consists of. Every process that has a command is part of it, also those scaled to zero.
fn snapshot(
    surroundings: &Surroundings,
    app: &App,
    droplet: &Droplet,
    processes: &[Process],
) -> Result<Snapshot> {
    let mut specs = BTreeMap::new();
    for process in processes {
        let Some(command) = Control::effective_command(process, Some(droplet)) else {
            if process.instances == 0 || process.process_type != "web" {
                continue;
            }
            return Err(Error::unprocessable(
                "the app has no start command: the droplet names none for process 'web'; set 'command' in the manifest, \
                 push with -c, or add a Procfile with a line 'web: <command>'",
            ));
        };
        let mut env = env::running_env(surroundings, app, process);
        env.set_default("CF_STACK", droplet.image.stack.0.clone());
        let spec = LrpSpec {
            app_name: app.name.clone(),
            process_type: process.process_type.clone(),
            stack: droplet.image.stack.clone(),
            layers: droplet.image.layers.clone(),
            command,
            env,
            limits: Limits {
                memory: process.memory,
                disk: process.disk,
                pids: Limits::DEFAULT.pids,
            },
            health: process.health.clone(),
        };
        specs.insert(process.process_type.clone(), spec);
    }
    Ok(Snapshot {
        droplet: droplet.id,
        processes: specs,
    })
}

/// A desired LRP with a version of its own, which `VCAP_APPLICATION` names.
pub(crate) fn desired_lrp(process: &Process, mut spec: LrpSpec, revision: &Revision) -> DesiredLrp {
    let version = VersionId::random();
    let vcap = spec
        .env
        .get("VCAP_APPLICATION")
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(Value::Object(mut vcap)) = vcap {
        vcap.insert("version".into(), json!(version));
        vcap.insert("application_version".into(), json!(version));
        spec.env
            .set("VCAP_APPLICATION", Value::Object(vcap).to_string());
    }
    DesiredLrp {
        process: process.id,
        app: process.app,
        version,
        revision: revision.version,
        instances: process.instances,
        spec,
        updated_us: store::now_us(),
    }
}

/// What a release changed against the one before, for `revisions`.
fn describe(newest: Option<&Revision>, snapshot: &Snapshot) -> String {
    let Some(newest) = newest else {
        return "Initial revision.".into();
    };
    let mut changes = Vec::new();
    if newest.droplet != snapshot.droplet {
        changes.push("New droplet deployed.");
    }
    let differs = |same: fn(&LrpSpec, &LrpSpec) -> bool| {
        let mut both = snapshot
            .processes
            .iter()
            .filter_map(|(name, spec)| Some((newest.snapshot.processes.get(name)?, spec)));
        both.any(|(old, new)| !same(old, new))
    };
    if differs(|old, new| old.env == new.env) {
        changes.push("New environment variables deployed.");
    }
    if differs(|old, new| old.command == new.command) {
        changes.push("Custom start command changed.");
    }
    if differs(|old, new| old.limits == new.limits) {
        changes.push("Limits changed.");
    }
    if differs(|old, new| old.health == new.health) {
        changes.push("Health check changed.");
    }
    if changes.is_empty() {
        "Processes changed.".into()
    } else {
        changes.join(" ")
    }
}
