//! Start, stop and restart: from an app's present settings to a release and its desired LRPs.

use std::collections::BTreeMap;
use std::time::Duration;

use model::deployment::Strategy;
use model::ids::{AppId, DeploymentId, ProcessId, VersionId};
use model::limits::Limits;
use serde_json::{Value, json};
use store::records::{
    App, AppState, Deployment, DesiredLrp, Droplet, LrpSpec, Process, Revision, Snapshot,
};
use store::{NewDeployment, ProcessUpdate};

use crate::env::{self, Surroundings, limits};
use crate::error::OrNotFound as _;
use crate::{Actor, Control, Error, Result, Scale};

/// How a release takes the place of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct How {
    pub strategy: Strategy,
    /// How many instances at a time are replaced, at least 1.
    pub max_in_flight: u32,
}

impl Default for How {
    fn default() -> Self {
        Self {
            strategy: Strategy::Rolling,
            max_in_flight: 1,
        }
    }
}

/// When a started app rolls; otherwise old instances stop at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Where its release changes.
    Changed,
    Always,
}

/// A release, the LRPs that run it, and the figures of a process that come with it. How many instances there are is settled
/// when the LRPs are desired.
struct Release {
    revision: Revision,
    lrps: Vec<DesiredLrp>,
    /// Whether its droplet becomes the app's, and is not so yet.
    brings_droplet: bool,
    resize: Option<(ProcessId, ProcessUpdate)>,
}

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

    /// Replaces all instances by new ones with the app's present droplet and settings; rolls where the release changes.
    pub async fn restart_app(&self, actor: &Actor, id: AppId) -> Result<App> {
        let app = self.app(actor, id).await?;
        self.roll_out(&app, None, Scale::default(), When::Changed, How::default())
            .await?;
        let event = if app.state == AppState::Started {
            "audit.app.restart"
        } else {
            "audit.app.start"
        };
        self.audit_app(actor, event, &app, json!({})).await;
        self.app(actor, id).await
    }

    /// Starts an app anew with its present settings, old instances and all.
    async fn desire(&self, app: &App) -> Result<()> {
        let release = self.next_release(app, None, Scale::default()).await?;
        self.store().desire_app(app.id, &release.lrps).await?;
        self.collector().look_at(app.id);
        Ok(self.fleet().refresh_app(app.id).await?)
    }

    /// Brings an app to its present settings, with another droplet where one is named, and with `web` in this size. Where something of it runs, it rolls: new instances
    /// are healthy before old ones stop, and if they never are, the old ones stay.
    pub(crate) async fn roll_out(
        &self,
        app: &App,
        droplet: Option<Droplet>,
        web: Scale,
        when: When,
        how: How,
    ) -> Result<Deployment> {
        let release = self.next_release(app, droplet, web).await?;
        self.roll(app, release, when, how).await
    }

    /// Brings an app back to what an earlier release was.
    pub(crate) async fn roll_back(&self, app: &App, to: &Revision, how: How) -> Result<Deployment> {
        let processes = self.processes_of(app.id).await?;
        let revision = self
            .store()
            .release(app.id, &to.snapshot, |_| {
                format!("Rolled back to revision {}.", to.version)
            })
            .await
            .or_not_found("Revision")?;
        let lrps = lrps_of(&processes, &to.snapshot, &revision);
        let release = Release {
            revision,
            lrps,
            brings_droplet: true,
            resize: None,
        };
        self.roll(app, release, When::Always, how).await
    }

    async fn roll(&self, app: &App, release: Release, when: When, how: How) -> Result<Deployment> {
        let new = NewDeployment {
            id: DeploymentId::random(),
            app: app.id,
            strategy: how.strategy,
            max_in_flight: how.max_in_flight,
            droplet: release.revision.droplet,
            revision: release.revision.version,
            brings_droplet: release.brings_droplet,
            always_rolls: when == When::Always,
            resize: release.resize,
        };
        let deployment = self
            .store()
            .begin_deployment(&new, &release.lrps, deadline)
            .await
            .or_not_found("Process")?;
        self.collector().look_at(app.id);
        self.fleet().refresh_app(app.id).await?;
        Ok(deployment)
    }

    /// The release that the app's present settings make, with this droplet where one is named, and with `web` in this size.
    async fn next_release(&self, app: &App, named: Option<Droplet>, web: Scale) -> Result<Release> {
        let brings_droplet = named.is_some();
        let droplet = match named {
            Some(droplet) => Some(droplet),
            None => self.droplet_of(app).await?,
        };
        let droplet = droplet
            .ok_or_else(|| Error::unprocessable("Assign a droplet before starting this app."))?;
        let mut processes = self.processes_of(app.id).await?;
        let resize = if web.is_empty() {
            None
        } else {
            let process = processes
                .iter_mut()
                .find(|process| process.process_type == "web")
                .ok_or(Error::NotFound { what: "Process" })?;
            web.apply(process);
            Some((process.id, web.into()))
        };
        for process in processes.iter().filter(|process| process.instances > 0) {
            self.check_fits_some_cell(process.memory)?;
        }
        let surroundings = self.surroundings(app).await?;
        let snapshot = snapshot(&surroundings, app, &droplet, &processes)?;
        let revision = self
            .store()
            .release(app.id, &snapshot, |newest| describe(newest, &snapshot))
            .await
            .or_not_found("Droplet")?;
        let lrps = lrps_of(&processes, &snapshot, &revision);
        Ok(Release {
            revision,
            lrps,
            brings_droplet,
            resize,
        })
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
        for (name, value) in env.iter() {
            limits::check_variable(name, value)?;
        }
        limits::check_whole(&env, &surroundings.services)?;
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
            log_rate: process.log_rate,
            health: process.health.clone(),
        };
        specs.insert(process.process_type.clone(), spec);
    }
    Ok(Snapshot {
        droplet: droplet.id,
        processes: specs,
    })
}

/// One LRP for each process that the snapshot has a command for.
fn lrps_of(processes: &[Process], snapshot: &Snapshot, revision: &Revision) -> Vec<DesiredLrp> {
    let of_process = |process: &Process| {
        let spec = snapshot.processes.get(&process.process_type)?.clone();
        Some(desired_lrp(process, spec, revision))
    };
    processes.iter().filter_map(of_process).collect()
}

/// When a roll that begins now has failed.
pub(crate) fn deadline(lrps: &[DesiredLrp]) -> i64 {
    store::now_us() + i64::try_from(patience(lrps).as_micros()).unwrap_or(i64::MAX / 2)
}

/// How long a roll may take in all: one instance after the other, each as long as its health check lets it.
fn patience(lrps: &[DesiredLrp]) -> Duration {
    const SLACK: Duration = Duration::from_secs(60);
    let each =
        |lrp: &DesiredLrp| (lrp.spec.health.start_timeout + SLACK) * lrp.instances.clamp(1, 1000);
    lrps.iter().map(each).max().unwrap_or(SLACK) + SLACK
}

/// A desired LRP with a version of its own, which `VCAP_APPLICATION` names.
fn desired_lrp(process: &Process, mut spec: LrpSpec, revision: &Revision) -> DesiredLrp {
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
        rolls: false,
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
