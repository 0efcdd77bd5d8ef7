//! User-provided service instances. Credentials are shown by the credentials call only.

use api_control::records;
use api_types::{LastOperation, ServiceInstance, SpaceRelationship};
use model::secret::Secret;

use super::{metadata, time};
use crate::urls::Urls;

pub(crate) fn service_instance(
    urls: &Urls,
    instance: &records::ServiceInstance,
) -> ServiceInstance {
    let own = format!("/v3/service_instances/{}", instance.id);
    let (created, updated) = (time(instance.created_us), time(instance.updated_us));
    let operation = if instance.created_us == instance.updated_us {
        "create"
    } else {
        "update"
    };
    ServiceInstance {
        guid: instance.id.to_string(),
        created_at: created.clone(),
        updated_at: Some(updated.clone()),
        name: instance.name.clone(),
        kind: "user-provided".into(),
        tags: instance.tags.clone(),
        syslog_drain_url: instance.syslog_drain_url.clone().map(Secret::into_exposed),
        route_service_url: instance.route_service_url.clone(),
        last_operation: LastOperation {
            kind: operation.into(),
            state: "succeeded".into(),
            description: Some("Operation succeeded".into()),
            created_at: Some(created),
            updated_at: Some(updated),
        },
        relationships: SpaceRelationship::to(instance.space.to_string()),
        metadata: metadata(&instance.metadata),
        links: urls.links([
            ("self", own.clone()),
            ("space", format!("/v3/spaces/{}", instance.space)),
            ("credentials", format!("{own}/credentials")),
            (
                "service_credential_bindings",
                format!(
                    "/v3/service_credential_bindings?service_instance_guids={}",
                    instance.id
                ),
            ),
        ]),
    }
}
