//! User-provided services: credentials of something outside the platform.

use std::path::Path;

use api_types::{
    CreateServiceInstance, Credentials, ServiceInstance, SpaceRelationship, UpdateServiceInstance,
};
use model::secret::Secret;
use serde_json::{Map, Value, json};

use super::done;
use crate::context::Context;
use crate::error::{CliError, Exit, Outcome};
use crate::loopback;

/// Create a user-provided service, such as the address of a database
#[derive(Debug, clap::Args)]
pub(crate) struct Cups {
    pub(crate) service_instance: String,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Change a user-provided service; bound apps see it after a restart
#[derive(Debug, clap::Args)]
pub(crate) struct Uups {
    pub(crate) service_instance: String,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Credentials: JSON, a file with JSON, or names to be asked for: 'uri,password'
    #[arg(
        short = 'p',
        long,
        value_name = "CREDENTIALS",
        allow_hyphen_values = true
    )]
    pub(crate) credentials: Option<String>,
    /// Where logs of bound apps are sent
    #[arg(short = 'l', long, value_name = "URL")]
    pub(crate) syslog_drain: Option<String>,
    /// Service that requests of bound routes pass
    #[arg(short = 'r', long, value_name = "URL")]
    pub(crate) route_service: Option<String>,
    /// Tags, separated by commas
    #[arg(short = 't', long, value_name = "TAGS", value_delimiter = ',')]
    pub(crate) tags: Option<Vec<String>>,
}

impl Cups {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let name = self.service_instance;
        let credentials = self.settings.credentials(cx)?;
        let request = CreateServiceInstance {
            kind: "user-provided".into(),
            name: name.clone(),
            credentials: Some(credentials.clone().unwrap_or_default()),
            syslog_drain_url: self.settings.syslog_drain,
            route_service_url: self.settings.route_service,
            tags: self.settings.tags,
            relationships: SpaceRelationship::to(cx.space_guid().await?),
            metadata: None,
        };
        match cx
            .client
            .post::<ServiceInstance>("/v3/service_instances", &request)
            .await
        {
            Ok(_) => {}
            Err(error)
                if error
                    .message
                    .contains(api_types::details::SERVICE_INSTANCE_NAME_TAKEN) =>
            {
                // `cf` calls this a success; credentials that were not taken over deserve an error.
                let message = format!("there is a service instance '{name}' already");
                return Err(CliError::new("E-CONFLICT", Exit::Conflict, message)
                    .hint(format!("slipway uups {name} -p …")));
            }
            Err(error) => return Err(error),
        }
        warn(cx, &name, credentials.as_ref()).await;
        let said = format!("{name} is created; slipway bind-service APP {name}");
        done(cx, json!({"service_instance": name}), said)
    }
}

impl Uups {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let instance = cx.service_instance(&self.service_instance).await?;
        let credentials = self.settings.credentials(cx)?;
        let request = UpdateServiceInstance {
            credentials: credentials.clone(),
            syslog_drain_url: self.settings.syslog_drain,
            route_service_url: self.settings.route_service,
            tags: self.settings.tags,
            ..UpdateServiceInstance::default()
        };
        if request == UpdateServiceInstance::default() {
            return Err(CliError::usage("there is nothing to change")
                .hint(format!("slipway uups {} -p …", instance.name)));
        }
        let answer = cx
            .client
            .patch::<ServiceInstance>(
                &format!("/v3/service_instances/{}", instance.guid),
                &request,
            )
            .await?;
        warn(cx, &instance.name, credentials.as_ref()).await;
        let said = format!(
            "{} is changed; bound apps see it after slipway restart APP",
            answer.name
        );
        done(cx, json!({"service_instance": answer.name}), said)
    }
}

async fn warn(cx: &Context, name: &str, credentials: Option<&Credentials>) {
    let Some(credentials) = credentials else {
        return;
    };
    let mut texts = Vec::new();
    let value = Value::Object(credentials.expose().clone());
    loopback::collect_texts(&value, &mut texts, 0);
    let Some(host) = texts.iter().find_map(|text| loopback::loopback_host(text)) else {
        return;
    };
    if !cx.ui.has_warned_of(loopback::HOST_NAME) && loopback::matters(cx).await {
        cx.ui
            .warn(loopback::warning(&format!("service '{name}'"), host));
    }
}

impl Settings {
    fn credentials(&self, cx: &Context) -> Outcome<Option<Credentials>> {
        let Some(given) = &self.credentials else {
            return Ok(None);
        };
        if given.trim_start().starts_with('{') {
            return object(given, "-p").map(Some);
        }
        let path = Path::new(given.strip_prefix('@').unwrap_or(given));
        if path.is_file() || looks_like_a_path(given) {
            let text = std::fs::read_to_string(path)
                .map_err(|error| CliError::file(path, "read", &error))?;
            return object(&text, &path.display().to_string()).map(Some);
        }
        let mut map = Map::new();
        for name in given
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let value = cx
                .ui
                .ask_secret(name)?
                .ok_or_else(|| not_credentials("-p is neither a JSON object nor a file"))?;
            map.insert(name.to_owned(), value.into());
        }
        Ok(Some(Secret::new(map)))
    }
}

/// A file that is not there is not taken for names to be asked for.
fn looks_like_a_path(given: &str) -> bool {
    given.starts_with('@') || given.contains('/') || given.to_ascii_lowercase().ends_with(".json")
}

/// The text itself is a secret and is not shown.
fn object(text: &str, place: &str) -> Outcome<Credentials> {
    serde_json::from_str::<Map<String, Value>>(text)
        .map(Secret::new)
        .map_err(|error| {
            not_credentials(&format!(
                "{place} is not a JSON object: wrong at line {}, column {}",
                error.line(),
                error.column()
            ))
        })
}

fn not_credentials(message: &str) -> CliError {
    CliError::usage(message)
        .hint(r#"slipway cups db -p '{"uri":"mongodb://host.slipway.internal:27017/db"}'"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_file_is_no_name_of_a_credential() {
        for (given, path) in [
            ("./db.json", true),
            ("db.json", true),
            ("@db", true),
            ("/dev/fd/63", true),
            ("uri,password", false),
            ("uri", false),
        ] {
            assert_eq!(looks_like_a_path(given), path, "{given}");
        }
    }

    #[test]
    fn wrong_credentials_are_named_by_place_and_never_shown() {
        let error = object(r#"{"uri": "mongodb://u:hunter2@h", }"#, "-p").expect_err("not JSON");
        assert!(
            error.message.contains("line 1, column") && !error.to_string().contains("hunter2"),
            "{error}"
        );
        assert_eq!(object("[1]", "-p").expect_err("no object").exit_code(), 2);
        assert_eq!(
            object(r#"{"a": 1}"#, "-p")
                .expect("an object")
                .expose()
                .len(),
            1
        );
    }
}
