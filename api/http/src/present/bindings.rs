//! Service credential bindings.

use api_control::records;
use api_types::{
    CredentialBinding, CredentialBindingDetails, CredentialBindingRelationships, LastOperation,
    Metadata, ToOne,
};

use super::time;
use crate::urls::Urls;

pub(crate) fn binding(urls: &Urls, binding: &records::Binding) -> CredentialBinding {
    let own = format!("/v3/service_credential_bindings/{}", binding.id);
    let created = time(binding.created_us);
    CredentialBinding {
        guid: binding.id.to_string(),
        created_at: created.clone(),
        updated_at: Some(created.clone()),
        kind: "app".into(),
        name: binding.name.clone(),
        last_operation: LastOperation {
            kind: "create".into(),
            state: "succeeded".into(),
            description: None,
            created_at: Some(created.clone()),
            updated_at: Some(created),
        },
        relationships: CredentialBindingRelationships {
            app: Some(ToOne::to(binding.app.to_string())),
            service_instance: ToOne::to(binding.service_instance.to_string()),
        },
        metadata: Metadata::default(),
        links: urls.links([
            ("self", own.clone()),
            ("details", format!("{own}/details")),
            ("parameters", format!("{own}/parameters")),
            ("app", format!("/v3/apps/{}", binding.app)),
            (
                "service_instance",
                format!("/v3/service_instances/{}", binding.service_instance),
            ),
        ]),
    }
}

pub(crate) fn binding_details(instance: records::ServiceInstance) -> CredentialBindingDetails {
    CredentialBindingDetails {
        credentials: instance.credentials,
        syslog_drain_url: instance
            .syslog_drain_url
            .map(model::secret::Secret::into_exposed),
    }
}
