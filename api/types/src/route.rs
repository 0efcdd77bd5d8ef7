//! Routes and where they lead.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Links, Metadata, Ref, ToOne};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Route {
    pub guid: String,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: Option<String>,
    /// `http` or `tcp`.
    #[serde(default)]
    pub protocol: String,
    #[serde(default)]
    pub host: String,
    /// Empty or starting with `/`.
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub port: Option<u16>,
    /// Host, domain, path, and the front port where it is not 80 or 443; no scheme.
    #[serde(default)]
    pub url: String,
    #[serde(default)]
    pub destinations: Vec<Destination>,
    #[serde(default)]
    pub options: Map<String, Value>,
    #[serde(default)]
    pub relationships: RouteRelationships,
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(default)]
    pub links: Links,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RouteRelationships {
    #[serde(default)]
    pub space: ToOne,
    #[serde(default)]
    pub domain: ToOne,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Destination {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    pub app: DestinationApp,
    #[serde(default)]
    pub weight: Option<u32>,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub protocol: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DestinationApp {
    pub guid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<DestinationProcess>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DestinationProcess {
    #[serde(rename = "type")]
    pub kind: String,
}

/// Body of `POST /v3/routes`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CreateRoute {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Map<String, Value>>,
    pub relationships: RouteRelationships,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// Body of `POST /v3/routes/G/destinations`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InsertDestinations {
    pub destinations: Vec<NewDestination>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NewDestination {
    pub app: DestinationApp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
}

impl NewDestination {
    /// To the app's `web` process.
    pub fn web(app_guid: impl Into<String>) -> Self {
        Self {
            app: DestinationApp {
                guid: app_guid.into(),
                process: None,
            },
            port: None,
            protocol: None,
        }
    }
}

/// Answer to the calls on `/v3/routes/G/destinations`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Destinations {
    pub destinations: Vec<Destination>,
    #[serde(default)]
    pub links: Links,
}

/// Answer to `GET /v3/domains/G/route_reservations`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RouteReservation {
    pub matching_route: bool,
}

/// A reference by app guid, as destinations and bindings give it.
impl From<Ref> for DestinationApp {
    fn from(app: Ref) -> Self {
        Self {
            guid: app.guid,
            process: None,
        }
    }
}
