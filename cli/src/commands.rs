//! The verbs. One file a command or family; the doc of its arguments is its help text.

mod app;
pub(crate) mod app_manifest;
mod apps;
mod bindings;
mod buildpacks;
mod curl;
mod delete;
mod deployments;
pub(crate) mod droplets;
mod env;
mod events;
mod gc;
pub(crate) mod labels;
pub(crate) mod lifecycle;
pub(crate) mod login;
mod logout;
mod logs;
pub(crate) mod orgs;
mod releases;
pub(crate) mod rename;
mod routes;
mod scale;
mod services;
pub(crate) mod target;
pub(crate) mod tasks;
mod user_provided;

use crate::context::Context;
use crate::error::Outcome;
use crate::push::{self, PushOptions};
use crate::ui::Ui;

/// `cf`'s short names. Kept out of clap, which would suggest them where a word is misspelt.
pub(crate) const SHORT_NAMES: &[(&str, &str)] = &[
    ("a", "apps"),
    ("bs", "bind-service"),
    ("d", "delete"),
    ("ds", "delete-service"),
    ("e", "env"),
    ("l", "login"),
    ("lo", "logout"),
    ("o", "orgs"),
    ("p", "push"),
    ("r", "routes"),
    ("rg", "restage"),
    ("rs", "restart"),
    ("rt", "run-task"),
    ("s", "services"),
    ("se", "set-env"),
    ("sp", "stop"),
    ("st", "start"),
    ("t", "target"),
    ("ue", "unset-env"),
    ("us", "unbind-service"),
];

/// Every client command, in the order of the help.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Login(login::Login),
    Logout(logout::Logout),
    Auth(login::Auth),
    Api(target::Api),
    Target(target::TargetCommand),
    Push(Box<PushOptions>),
    Apps(apps::Apps),
    App(app::AppCommand),
    Logs(logs::Logs),
    Env(env::Env),
    SetEnv(env::SetEnv),
    UnsetEnv(env::UnsetEnv),
    Scale(scale::Scale),
    Start(lifecycle::Start),
    Stop(lifecycle::Stop),
    Restart(lifecycle::Restart),
    Restage(lifecycle::Restage),
    Rename(rename::Rename),
    Delete(delete::Delete),
    Labels(labels::Labels),
    SetLabel(labels::SetLabel),
    UnsetLabel(labels::UnsetLabel),
    Droplets(droplets::Droplets),
    CreateAppManifest(app_manifest::CreateAppManifest),
    #[command(alias = "create-user-provided-service")]
    Cups(user_provided::Cups),
    #[command(alias = "update-user-provided-service")]
    Uups(user_provided::Uups),
    BindService(bindings::BindService),
    UnbindService(bindings::UnbindService),
    Services(services::Services),
    Service(services::Service),
    DeleteService(services::DeleteService),
    Routes(routes::Routes),
    CreateRoute(routes::CreateRoute),
    MapRoute(routes::MapRoute),
    UnmapRoute(routes::UnmapRoute),
    DeleteRoute(routes::DeleteRoute),
    Domains(routes::Domains),
    Orgs(orgs::Orgs),
    CreateOrg(orgs::CreateOrg),
    DeleteOrg(orgs::DeleteOrg),
    Spaces(orgs::Spaces),
    CreateSpace(orgs::CreateSpaceCommand),
    DeleteSpace(orgs::DeleteSpace),
    Events(events::Events),
    #[command(alias = "revisions")]
    Releases(releases::Releases),
    Rollback(releases::Rollback),
    ContinueDeployment(deployments::ContinueDeployment),
    CancelDeployment(deployments::CancelDeployment),
    RunTask(tasks::RunTask),
    Tasks(tasks::Tasks),
    Task(tasks::TaskCommand),
    TerminateTask(tasks::TerminateTask),
    Buildpacks(buildpacks::Buildpacks),
    Gc(gc::Gc),
    Curl(curl::Curl),
    Version(Version),
}

/// Print the version
#[derive(Debug, clap::Args)]
pub(crate) struct Version {}

/// What a command prints, which decides what it means where whoever watches leaves before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    Answer,
    /// Something without an end: leaving ends it.
    Stream,
    /// How work goes on whose end is then not seen.
    Work,
}

impl Command {
    pub(crate) const fn watched(&self) -> Watched {
        match self {
            Self::Logs(_) => Watched::Stream,
            Self::Push(_) => Watched::Work,
            Self::RunTask(command) if command.wait => Watched::Work,
            _ => Watched::Answer,
        }
    }

    pub(crate) async fn run(self, ui: Ui) -> Outcome {
        match self {
            Self::Version(_) => return version(&ui),
            Self::Login(command) => return command.run(&ui).await,
            Self::Auth(command) => return command.run(&ui).await,
            Self::Logout(_) => return logout::run(&ui),
            Self::Api(command) => return command.run(&ui).await,
            _ => {}
        }
        let cx = Context::open(ui).await?;
        match self {
            Self::Target(command) => command.run(&cx).await,
            Self::Push(options) => push::push(&cx, &options).await,
            Self::Apps(_) => apps::run(&cx).await,
            Self::App(command) => command.run(&cx).await,
            Self::Logs(command) => command.run(&cx).await,
            Self::Env(command) => command.run(&cx).await,
            Self::SetEnv(command) => command.run(&cx).await,
            Self::UnsetEnv(command) => command.run(&cx).await,
            Self::Scale(command) => command.run(&cx).await,
            Self::Start(command) => command.run(&cx).await,
            Self::Stop(command) => command.run(&cx).await,
            Self::Restart(command) => command.run(&cx).await,
            Self::Restage(command) => command.run(&cx).await,
            Self::Rename(command) => command.run(&cx).await,
            Self::Delete(command) => command.run(&cx).await,
            Self::Labels(command) => command.run(&cx).await,
            Self::SetLabel(command) => command.run(&cx).await,
            Self::UnsetLabel(command) => command.run(&cx).await,
            Self::Droplets(command) => command.run(&cx).await,
            Self::CreateAppManifest(command) => command.run(&cx).await,
            Self::Cups(command) => command.run(&cx).await,
            Self::Uups(command) => command.run(&cx).await,
            Self::BindService(command) => command.run(&cx).await,
            Self::UnbindService(command) => command.run(&cx).await,
            Self::Services(_) => services::run(&cx).await,
            Self::Service(command) => command.run(&cx).await,
            Self::DeleteService(command) => command.run(&cx).await,
            Self::Routes(_) => routes::list(&cx).await,
            Self::CreateRoute(command) => command.run(&cx).await,
            Self::MapRoute(command) => command.run(&cx).await,
            Self::UnmapRoute(command) => command.run(&cx).await,
            Self::DeleteRoute(command) => command.run(&cx).await,
            Self::Domains(_) => routes::domains(&cx).await,
            Self::Orgs(_) => orgs::orgs(&cx).await,
            Self::CreateOrg(command) => command.run(&cx).await,
            Self::DeleteOrg(command) => command.run(&cx).await,
            Self::Spaces(_) => orgs::spaces(&cx).await,
            Self::CreateSpace(command) => command.run(&cx).await,
            Self::DeleteSpace(command) => command.run(&cx).await,
            Self::Events(command) => command.run(&cx).await,
            Self::Releases(command) => command.run(&cx).await,
            Self::Rollback(command) => command.run(&cx).await,
            Self::ContinueDeployment(command) => command.run(&cx).await,
            Self::CancelDeployment(command) => command.run(&cx).await,
            Self::RunTask(command) => command.run(&cx).await,
            Self::Tasks(command) => command.run(&cx).await,
            Self::Task(command) => command.run(&cx).await,
            Self::TerminateTask(command) => command.run(&cx).await,
            Self::Buildpacks(_) => buildpacks::run(&cx).await,
            Self::Gc(command) => command.run(&cx).await,
            Self::Curl(command) => command.run(&cx).await,
            Self::Version(_) | Self::Login(_) | Self::Auth(_) | Self::Logout(_) | Self::Api(_) => {
                Ok(())
            }
        }
    }
}

fn version(ui: &Ui) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    ui.answer(
        || serde_json::json!({"version": version}),
        |ui| ui.data(format!("slipway {version}")),
    )
}

/// The end of a command that has nothing to show but that it worked.
fn done(cx: &Context, json: serde_json::Value, said: impl AsRef<str>) -> Outcome {
    cx.ui.say(said);
    if cx.ui.json() {
        cx.ui.data(json.to_string())
    } else {
        Ok(())
    }
}
