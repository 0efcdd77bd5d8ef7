//! Audit events.

use api_control::records;
use api_types::{AuditEvent, EventParty, Ref};
use serde_json::{Map, Value};

use super::time;
use crate::urls::Urls;

pub(crate) fn event(urls: &Urls, event: records::Event) -> AuditEvent {
    let data = match event.data {
        Value::Object(data) => data,
        Value::Null => Map::new(),
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    AuditEvent {
        guid: event.id.to_string(),
        created_at: time(event.created_us),
        updated_at: Some(time(event.created_us)),
        kind: event.event_type,
        actor: EventParty {
            guid: event.actor,
            kind: "user".into(),
            name: Some(event.actor_name),
        },
        target: EventParty {
            guid: event.target,
            kind: event.target_type,
            name: Some(event.target_name),
        },
        data,
        space: event.space.map(|space| Ref::new(space.to_string())),
        organization: event.org.map(|org| Ref::new(org.to_string())),
        links: urls.links([("self", format!("/v3/audit_events/{}", event.id))]),
    }
}
