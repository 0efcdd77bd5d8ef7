//! Bindings of a service instance to an app.

use model::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Credentials, LastOperation, Links, Metadata, ToOne};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CredentialBinding {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    /// `app` or `key`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub last_operation: LastOperation,
    #[serde(default)]
    pub relationships: CredentialBindingRelationships,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CredentialBindingRelationships {
    /// Absent where the binding is a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<ToOne>,
    #[serde(default)]
    pub service_instance: ToOne,
}

/// Body of `POST /v3/service_credential_bindings`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateCredentialBinding {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Secret<Map<String, Value>>>,
    /// `single` or `multiple`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    pub relationships: CredentialBindingRelationships,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

impl CreateCredentialBinding {
    pub fn app(app_guid: impl Into<String>, service_instance_guid: impl Into<String>) -> Self {
        let relationships = CredentialBindingRelationships {
            app: Some(ToOne::to(app_guid)),
            service_instance: ToOne::to(service_instance_guid),
        };
        Self {
            kind: "app".into(),
            relationships,
            ..Self::default()
        }
    }
}

/// Answer to `GET /v3/service_credential_bindings/G/details`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CredentialBindingDetails {
    pub credentials: Credentials,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syslog_drain_url: Option<String>,
}
