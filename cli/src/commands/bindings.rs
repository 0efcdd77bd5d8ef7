//! Binding services to apps.

use api_types::details::ALREADY_BOUND;
use api_types::{App, CreateCredentialBinding, CredentialBinding, ServiceInstance};
use http::Method;
use model::secret::Secret;
use serde_json::{Map, Value, json};

use super::done;
use crate::client::{Call, Query};
use crate::context::Context;
use crate::error::{CliError, Outcome};

/// Bind a service to an app, so that its credentials are in the app's environment
#[derive(Debug, clap::Args)]
pub(crate) struct BindService {
    pub(crate) app: String,
    pub(crate) service_instance: String,
    /// Name of the binding
    #[arg(short = 'n', long, value_name = "NAME")]
    pub(crate) binding_name: Option<String>,
    /// Parameters as JSON
    #[arg(short = 'c', long, value_name = "JSON")]
    pub(crate) parameters: Option<String>,
}

impl BindService {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let parameters = self
            .parameters
            .as_deref()
            .map(serde_json::from_str::<Map<String, Value>>)
            .transpose();
        let parameters = parameters.map_err(|error| {
            CliError::usage(format!(
                "-c is not a JSON object: wrong at line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        let (instance, app) = both(cx, &self.service_instance, &self.app).await?;
        let request = CreateCredentialBinding {
            name: self.binding_name,
            parameters: parameters.map(Secret::new),
            ..CreateCredentialBinding::app(&app.guid, &instance.guid)
        };
        let call = Call::new(
            Method::POST,
            cx.client.at("/v3/service_credential_bindings"),
        )
        .json(&request);
        let said = match cx.client.send(call).await {
            Ok(answer) => {
                cx.client.finish(&answer).await?;
                format!(
                    "{} is bound to {}; it holds from the next restart: slipway restart {}",
                    instance.name, app.name, app.name
                )
            }
            // As in `cf`, what is already so is a success.
            Err(error) if error.message.contains(ALREADY_BOUND) => {
                format!("{} is bound to {} already", instance.name, app.name)
            }
            Err(error) => return Err(error),
        };
        done(
            cx,
            json!({"app": app.name, "service_instance": instance.name, "bound": true}),
            said,
        )
    }
}

/// Take a service away from an app
#[derive(Debug, clap::Args)]
pub(crate) struct UnbindService {
    pub(crate) app: String,
    pub(crate) service_instance: String,
}

impl UnbindService {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let (instance, app) = both(cx, &self.service_instance, &self.app).await?;
        let query = Query::of("/v3/service_credential_bindings")
            .with("app_guids", &app.guid)
            .with("service_instance_guids", &instance.guid)
            .with("type", "app");
        let bindings: Vec<CredentialBinding> = cx.client.list(query).await?;
        for binding in &bindings {
            let answer = cx
                .client
                .delete(&format!("/v3/service_credential_bindings/{}", binding.guid))
                .await?;
            cx.client.finish(&answer).await?;
        }
        let said = if bindings.is_empty() {
            format!("{} was not bound to {}", instance.name, app.name)
        } else {
            format!(
                "{} is unbound from {}; it holds from the next restart: slipway restart {}",
                instance.name, app.name, app.name
            )
        };
        done(
            cx,
            json!({"app": app.name, "service_instance": instance.name, "bound": false}),
            said,
        )
    }
}

async fn both(cx: &Context, instance: &str, app: &str) -> Outcome<(ServiceInstance, App)> {
    Ok((cx.service_instance(instance).await?, cx.app(app).await?))
}
