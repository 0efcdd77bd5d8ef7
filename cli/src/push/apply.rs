//! The manifest at the server: what it would change, and changing it.

use api_types::{App, AppEnvironment, ManifestChange, ManifestDiff, ManifestOp};
use http::Method;
use model::service::habitual_name;
use owo_colors::OwoColorize;
use serde_json::{Value, json};

use super::{Plan, dim};
use crate::client::{Call, Payload, Query};
use crate::context::Context;
use crate::error::{CliError, Outcome};
use crate::loopback;

const MAX_CHANGES: usize = 40;

pub(super) async fn manifest(cx: &Context, plan: &Plan) -> Outcome {
    let space = cx.space_guid().await?;
    let yaml = plan.manifest.to_yaml();
    if plan.manifest_file.is_some() {
        let call = Call::new(
            Method::POST,
            cx.client.at(&format!("/v3/spaces/{space}/manifest_diff")),
        );
        match cx
            .client
            .send(call.payload(Payload::Yaml(yaml.clone().into())))
            .await
        {
            Ok(answer) => show(cx, plan, &answer.read::<ManifestDiff>()?.diff)?,
            // As in `cf`, a diff that cannot be made does not stop a push; a manifest that is wrong does.
            Err(error) if error.code == "E-MANIFEST" || error.code == "E-LOGIN" => {
                return Err(error);
            }
            Err(error) => cx.ui.warn(format!(
                "what will change cannot be shown: {}",
                error.message
            )),
        }
    }
    let call = Call::new(
        Method::POST,
        cx.client
            .at(&format!("/v3/spaces/{space}/actions/apply_manifest")),
    );
    let applied = async {
        let call = call.payload(Payload::Yaml(yaml.into()));
        cx.client.finish(&cx.client.send(call).await?).await
    };
    applied.await.map_err(|error| with_way_out(plan, error))
}

/// What to type where the platform cannot give what was asked for.
fn with_way_out(plan: &Plan, error: CliError) -> CliError {
    let app = match &plan.apps[..] {
        [only] => format!(" {}", only.name),
        _ => String::new(),
    };
    match error.code.as_str() {
        _ if !error.hints.is_empty() => error,
        "E-CAPACITY" => error
            .hint(format!(
                "slipway push{app} -m 512M  or as much as an instance needs"
            ))
            .hint("slipway apps  shows what could be stopped"),
        "E-ROUTE" => error
            .hint(format!("slipway push{app} --random-route"))
            .hint("slipway routes"),
        _ => error,
    }
}

fn show(cx: &Context, plan: &Plan, changes: &[ManifestChange]) -> Outcome {
    let lines: Vec<_> = changes
        .iter()
        .flat_map(|change| lines(plan, change))
        .collect();
    cx.ui.event(
        "plan",
        json!({"changes": lines.iter().map(|(_, line)| line).collect::<Vec<_>>()}),
    )?;
    if lines.is_empty() {
        cx.ui.step("plan", dim("no change but the files"));
    }
    for (index, (op, line)) in lines.iter().enumerate() {
        if index == MAX_CHANGES {
            cx.ui
                .say(format!("        … and {} more", lines.len() - MAX_CHANGES));
            break;
        }
        let line = match op {
            ManifestOp::Add => line.green().to_string(),
            ManifestOp::Remove => line.red().to_string(),
            ManifestOp::Replace => line.yellow().to_string(),
        };
        cx.ui.step(if index == 0 { "plan" } else { "" }, line);
    }
    Ok(())
}

/// `+ memory 512M`, one line for each attribute. Values of env are not shown.
fn lines(plan: &Plan, change: &ManifestChange) -> Vec<(ManifestOp, String)> {
    let mut parts: Vec<&str> = change
        .path
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let mut prefix = String::new();
    if let ["applications", index, ..] = parts[..] {
        if plan.apps.len() > 1 {
            let app = index
                .parse::<usize>()
                .ok()
                .and_then(|index| plan.apps.get(index));
            prefix = app.map(|app| format!("{} ", app.name)).unwrap_or_default();
        }
        parts.drain(..2);
    }
    let secret = parts.first() == Some(&"env");
    let show = |value: &Option<Value>| match value {
        None => String::new(),
        Some(_) if secret => "***".to_owned(),
        Some(Value::String(text)) => crate::logs::clean(text),
        Some(other) => other.to_string(),
    };
    let path = parts.join(".").replace("~1", "/").replace("~0", "~");
    // A whole app or a whole env is shown by its attributes.
    if let (true, Some(Value::Object(map))) = (parts.is_empty() || parts == ["env"], &change.value)
    {
        let inner = |(key, value): (&String, &Value)| {
            let path = format!(
                "{}/{}",
                change.path.trim_end_matches('/'),
                key.replace('~', "~0").replace('/', "~1")
            );
            lines(
                plan,
                &ManifestChange {
                    op: change.op,
                    path,
                    was: None,
                    value: Some(value.clone()),
                },
            )
        };
        return map.iter().flat_map(inner).collect();
    }
    let line = match change.op {
        ManifestOp::Add => format!("+ {prefix}{path} {}", show(&change.value)),
        ManifestOp::Remove => format!("- {prefix}{path} {}", show(&change.was)),
        ManifestOp::Replace => format!(
            "~ {prefix}{path} {} → {}",
            show(&change.was),
            show(&change.value)
        ),
    };
    vec![(change.op, line.trim_end().to_owned())]
}

/// The apps of the plan, in its order.
pub(super) async fn pushed_apps(cx: &Context, plan: &Plan) -> Outcome<Vec<App>> {
    let names: Vec<_> = plan
        .apps
        .iter()
        .map(|app| app.name.replace(',', "%2C"))
        .collect();
    let query = Query::of("/v3/apps")
        .with("names", names.join(","))
        .with("space_guids", cx.space_guid().await?);
    let found: Vec<App> = cx.client.list(query).await?;
    let of_plan = plan.apps.iter().map(|planned| {
        let app = found.iter().find(|app| app.name == planned.name).cloned();
        app.ok_or_else(|| {
            CliError::other(format!(
                "the server applied the manifest and has no app '{}'",
                planned.name
            ))
        })
    });
    of_plan.collect()
}

/// Shows what is bound, and warns of values that lead an instance to itself. What cannot be read is not worth an error.
pub(super) async fn warn_of_loopback(cx: &Context, app: &App) {
    let Ok(environment) = cx
        .client
        .get::<AppEnvironment>(&format!("/v3/apps/{}/env", app.guid))
        .await
    else {
        return;
    };
    let services = environment
        .system_env_json
        .expose()
        .get("VCAP_SERVICES")
        .cloned()
        .unwrap_or_default();
    let instances: Vec<_> = services
        .as_object()
        .into_iter()
        .flat_map(|map| map.values())
        .filter_map(Value::as_array)
        .flatten()
        .collect();
    let mut found = Vec::new();
    for (name, value) in &environment.environment_variables {
        if let Some(host) = loopback::loopback_host(value.expose()) {
            found.push((name.clone(), host.to_owned()));
        }
    }
    for instance in instances {
        let name = instance["name"].as_str().unwrap_or("?");
        let mut texts = Vec::new();
        loopback::collect_texts(&instance["credentials"], &mut texts, 0);
        let variables: Vec<_> = texts
            .iter()
            .filter_map(|text| habitual_name(text))
            .chain(["VCAP_SERVICES"])
            .collect();
        cx.ui
            .step("bind", format!("{name} → {}", variables.join(", ")));
        if let Some(host) = texts.iter().find_map(|text| loopback::loopback_host(text)) {
            found.push((format!("service '{name}'"), host.to_owned()));
        }
    }
    if found.is_empty() || cx.ui.has_warned_of(loopback::HOST_NAME) || !loopback::matters(cx).await
    {
        return;
    }
    for (name, host) in found {
        cx.ui.warn(loopback::warning(&name, &host));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::PlannedApp;
    use super::*;

    fn plan(names: &[&str]) -> Plan {
        let app = |name: &&str| PlannedApp {
            name: (*name).to_owned(),
            name_reason: "",
            path: PathBuf::new(),
            path_reason: "",
        };
        Plan {
            manifest: model::manifest::Manifest::default(),
            manifest_file: None,
            apps: names.iter().map(app).collect(),
        }
    }

    #[test]
    fn changes_are_short_lines_without_secrets() {
        let changes: Vec<ManifestChange> = serde_json::from_value(json!([
            {"op": "replace", "path": "/applications/0/memory", "was": "256M", "value": "512M"},
            {"op": "add", "path": "/applications/0/env", "value": {"MONGODB_URI": "hunter2", "B": "hunter2"}},
            {"op": "replace", "path": "/applications/0/env/A", "was": "hunter2", "value": "hunter2"},
            {"op": "remove", "path": "/applications/0/routes/0", "was": {"route": "a.b"}},
            {"op": "add", "path": "/applications/0", "value": {"name": "hello", "instances": 2}}
        ]))
        .expect("changes");
        let shown = |plan: &Plan| {
            changes
                .iter()
                .flat_map(|change| lines(plan, change))
                .map(|(_, line)| line)
                .collect::<Vec<_>>()
                .join("\n")
        };
        insta::assert_snapshot!(shown(&plan(&["hello"])), @r#"
        ~ memory 256M → 512M
        + env.B ***
        + env.MONGODB_URI ***
        ~ env.A *** → ***
        - routes.0 {"route":"a.b"}
        + instances 2
        + name hello
        "#);
        assert!(shown(&plan(&["hello", "other"])).starts_with("~ hello memory 256M → 512M"));
    }
}
