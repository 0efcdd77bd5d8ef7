//! An app that ended because a variable is missing, while a service that would bring it is there and not bound.

use api_types::{CredentialBinding, Credentials, ServiceInstance};
use model::service::habitual_name;

use crate::client::Query;
use crate::context::Context;
use crate::error::{CliError, Outcome};
use crate::loopback::collect_texts;

/// Services whose credentials are looked at.
const MAX_SERVICES: usize = 20;

/// Adds which service would bring a variable that the app's last lines name. What cannot be read is not worth a second
/// error.
pub(super) async fn with_note(cx: &Context, app: &str, name: &str, error: CliError) -> CliError {
    let said = error.evidence.join("\n");
    if !said.contains("_UR") {
        return error;
    }
    let Some((variable, service)) = find(cx, app, &said).await.ok().flatten() else {
        return error;
    };
    error
        .evidence(
            "note",
            format!("{variable} is known from service '{service}', which is not bound"),
        )
        .hint(format!("slipway bind-service {name} {service}"))
        // Where a release before was kept, a restart would start that one.
        .hint(if said.contains("is still live") {
            format!("slipway push {name}")
        } else {
            format!("slipway restart {name}")
        })
}

async fn find(cx: &Context, app: &str, said: &str) -> Outcome<Option<(&'static str, String)>> {
    let space = cx.space_guid().await?;
    let services = Query::of("/v3/service_instances").with("space_guids", space);
    let services: Vec<ServiceInstance> = cx.client.list(services.with("order_by", "name")).await?;
    let bound = Query::of("/v3/service_credential_bindings").with("app_guids", app);
    let bound: Vec<CredentialBinding> = cx.client.list(bound).await?;
    let is_bound = |service: &ServiceInstance| {
        bound
            .iter()
            .filter_map(|binding| binding.relationships.service_instance.guid())
            .any(|guid| guid == service.guid)
    };
    let unbound = services.iter().filter(|service| !is_bound(service));
    for service in unbound.take(MAX_SERVICES) {
        let path = format!("/v3/service_instances/{}/credentials", service.guid);
        let credentials: Credentials = cx.client.get(&path).await?;
        let mut texts = Vec::new();
        credentials
            .expose()
            .values()
            .for_each(|value| collect_texts(value, &mut texts, 0));
        let named = texts
            .iter()
            .filter_map(|text| habitual_name(text))
            .find(|variable| said.contains(variable));
        if let Some(variable) = named {
            return Ok(Some((variable, service.name.clone())));
        }
    }
    Ok(None)
}
