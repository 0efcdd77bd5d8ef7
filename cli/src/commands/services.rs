//! Service instances of a space.

use std::collections::BTreeMap;

use api_types::{CredentialBinding, Page, ServiceInstance};
use http::Method;
use serde_json::json;

use super::done;
use crate::client::{Call, GUIDS_PER_QUERY, Query};
use crate::context::Context;
use crate::error::Outcome;
use crate::ui::Table;

/// List the service instances of the space
#[derive(Debug, clap::Args)]
pub(crate) struct Services {}

/// Names of bound apps by GUID of the service instance.
type Bound = BTreeMap<String, Vec<String>>;

pub(crate) async fn run(cx: &Context) -> Outcome {
    let query = Query::of("/v3/service_instances")
        .with("order_by", "name")
        .with("per_page", "5000");
    let instances: Vec<ServiceInstance> = cx
        .client
        .list(query.with("space_guids", cx.space_guid().await?))
        .await?;
    let bound = bound_apps(cx, &instances).await?;
    let apps = |instance: &ServiceInstance| bound.get(&instance.guid).cloned().unwrap_or_default();
    cx.ui.answer(
        || {
            let row = |instance: &ServiceInstance| {
                json!({"name": instance.name, "guid": instance.guid, "type": instance.kind, "tags": instance.tags,
                       "bound_apps": apps(instance), "last_operation": instance.last_operation})
            };
            instances.iter().map(row).collect()
        },
        |ui| {
            if instances.is_empty() {
                ui.say("no service instances yet: slipway cups NAME -p CREDENTIALS");
                return Ok(());
            }
            let mut table = Table::new(&["name", "offering", "bound apps", "last operation"]);
            for instance in &instances {
                let operation = format!("{} {}", instance.last_operation.kind, instance.last_operation.state);
                table.row([instance.name.clone(), instance.kind.clone(), apps(instance).join(", "), operation.trim().to_owned()]);
            }
            ui.data(table.render())
        },
    )
}

async fn bound_apps(cx: &Context, instances: &[ServiceInstance]) -> Outcome<Bound> {
    let mut bound = Bound::new();
    for batch in instances.chunks(GUIDS_PER_QUERY) {
        let guids: Vec<_> = batch
            .iter()
            .map(|instance| instance.guid.as_str())
            .collect();
        let query = Query::of("/v3/service_credential_bindings")
            .with("include", "app")
            .with("service_instance_guids", guids.join(","));
        let mut path = query.with("per_page", "5000").build();
        loop {
            let page: Page<CredentialBinding> = cx.client.get(&path).await?;
            let names: BTreeMap<_, _> = page
                .included
                .iter()
                .flat_map(|included| &included.apps)
                .map(|app| (app.guid.as_str(), app.name.as_str()))
                .collect();
            for binding in &page.resources {
                let app = binding
                    .relationships
                    .app
                    .as_ref()
                    .and_then(|app| app.guid());
                if let (Some(instance), Some(app)) =
                    (binding.relationships.service_instance.guid(), app)
                {
                    let name = names.get(app).copied().unwrap_or(app).to_owned();
                    bound.entry(instance.to_owned()).or_default().push(name);
                }
            }
            match page.pagination.next {
                Some(next) if !next.href.is_empty() && next.href != path => path = next.href,
                _ => break,
            }
        }
    }
    bound.values_mut().for_each(|names| names.sort());
    Ok(bound)
}

/// Show a service instance
#[derive(Debug, clap::Args)]
pub(crate) struct Service {
    pub(crate) service_instance: String,
    /// Print the GUID and nothing else
    #[arg(long)]
    pub(crate) guid: bool,
}

impl Service {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let instance = cx.service_instance(&self.service_instance).await?;
        if self.guid {
            return cx.ui.answer(
                || json!({"guid": instance.guid}),
                |ui| ui.data(&instance.guid),
            );
        }
        let bound = bound_apps(cx, std::slice::from_ref(&instance)).await?;
        let apps = bound.get(&instance.guid).cloned().unwrap_or_default();
        cx.ui.answer(
            || json!({"service_instance": instance, "bound_apps": apps}),
            |ui| {
                ui.data(format!("name:        {}", instance.name))?;
                ui.data(format!("type:        {}", instance.kind))?;
                ui.data(format!("tags:        {}", instance.tags.join(", ")))?;
                ui.data(format!("bound apps:  {}", apps.join(", ")))?;
                ui.data(format!("created:     {}", instance.created_at))
            },
        )
    }
}

/// Delete a service instance
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteService {
    pub(crate) service_instance: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

impl DeleteService {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let question = format!("Delete the service instance {}?", self.service_instance);
        if !self.force && !cx.ui.confirm(&question, "-f").await? {
            return done(cx, json!({"deleted": null}), "nothing was deleted");
        }
        let Some(instance) = cx.service_instance_if_any(&self.service_instance).await? else {
            // As in `cf`, what is already so is a success.
            return done(
                cx,
                json!({"deleted": null}),
                format!("there is no service instance {}", self.service_instance),
            );
        };
        let url = cx
            .client
            .at(&format!("/v3/service_instances/{}", instance.guid));
        let answer = cx.client.send(Call::new(Method::DELETE, url)).await?;
        cx.client.finish(&answer).await?;
        done(
            cx,
            json!({"deleted": instance.name}),
            format!("{} is deleted", instance.name),
        )
    }
}
