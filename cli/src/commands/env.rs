//! Env vars of an app.

use api_types::{App, AppEnvironment, EnvironmentMap, EnvironmentVariables, UpdateEnvironment};
use serde_json::json;

use super::done;
use crate::context::Context;
use crate::error::{CliError, Outcome};
use crate::loopback;
use crate::ui::Ui;

/// Show an app's environment, with all values
#[derive(Debug, clap::Args)]
pub(crate) struct Env {
    pub(crate) app: String,
}

impl Env {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let environment: AppEnvironment =
            cx.client.get(&format!("/v3/apps/{}/env", app.guid)).await?;
        cx.ui
            .answer(|| json!(environment), |ui| print(ui, &environment))
    }
}

fn print(ui: &Ui, environment: &AppEnvironment) -> Outcome {
    let pretty =
        |value: &serde_json::Value| serde_json::to_string_pretty(value).expect("JSON stays JSON");
    for (name, value) in environment
        .system_env_json
        .expose()
        .iter()
        .chain(&environment.application_env_json)
    {
        ui.data(format!("{name}: {}", pretty(value)))?;
    }
    let section = |title: &str, variables: &EnvironmentMap| -> Outcome {
        if variables.is_empty() {
            ui.say(format!("{title}: none"));
            return Ok(());
        }
        ui.say(format!("{title}:"));
        variables
            .iter()
            .try_for_each(|(name, value)| ui.data(format!("{name}: {}", value.expose())))
    };
    section("user-provided", &environment.environment_variables)?;
    section("running environment", &environment.running_env_json)?;
    section("staging environment", &environment.staging_env_json)
}

/// Set an env var of an app; it holds from the next restart
#[derive(Debug, clap::Args)]
pub(crate) struct SetEnv {
    pub(crate) app: String,
    pub(crate) name: String,
    #[arg(allow_hyphen_values = true)]
    pub(crate) value: String,
}

impl SetEnv {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        if self.name.is_empty() || self.name.contains(['=', '\0']) {
            return Err(
                CliError::usage("the name of an env var must not be empty or contain '='")
                    .hint("slipway set-env APP NAME VALUE"),
            );
        }
        let app = cx.app(&self.app).await?;
        let host = loopback::loopback_host(&self.value).map(str::to_owned);
        let var = [(self.name.clone(), Some(self.value.into()))].into();
        change(cx, &app, UpdateEnvironment { var }).await?;
        if let Some(host) = host
            && !cx.ui.has_warned_of(loopback::HOST_NAME)
            && loopback::matters(cx).await
        {
            cx.ui.warn(loopback::warning(&self.name, &host));
        }
        let said = format!(
            "{} is set; it holds from the next restart: slipway restart {}",
            self.name, app.name
        );
        done(cx, json!({"app": app.name, "set": self.name}), said)
    }
}

/// Remove an env var of an app; it holds from the next restart
#[derive(Debug, clap::Args)]
pub(crate) struct UnsetEnv {
    pub(crate) app: String,
    pub(crate) name: String,
}

impl UnsetEnv {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let app = cx.app(&self.app).await?;
        let now: AppEnvironment = cx.client.get(&format!("/v3/apps/{}/env", app.guid)).await?;
        if !now.environment_variables.contains_key(&self.name) {
            // As in `cf`, what is already so is a success.
            let said = format!("{} was not set", self.name);
            return done(cx, json!({"app": app.name, "unset": null}), said);
        }
        change(
            cx,
            &app,
            UpdateEnvironment {
                var: [(self.name.clone(), None)].into(),
            },
        )
        .await?;
        let said = format!(
            "{} is removed; it holds from the next restart: slipway restart {}",
            self.name, app.name
        );
        done(cx, json!({"app": app.name, "unset": self.name}), said)
    }
}

async fn change(cx: &Context, app: &App, update: UpdateEnvironment) -> Outcome {
    let path = format!("/v3/apps/{}/environment_variables", app.guid);
    let _: EnvironmentVariables = cx.client.patch(&path, &update).await?;
    Ok(())
}
