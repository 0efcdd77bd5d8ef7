//! The buildpacks of the platform, in the order of detection.

use api_types::{Buildpack, Page};
use axum::Json;

use crate::error::Outcome;
use crate::request::Ask;

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Buildpack>>> {
    let query = ask.query(&["names", "stacks", "lifecycle", "label_selector"])?;
    query.order(&["position"])?;
    let unlabelled = query.wants_unlabelled()?;
    let names = query.texts("names")?;
    let is_buildpack = query
        .first("lifecycle")
        .is_none_or(|lifecycle| lifecycle == "buildpack");
    let wanted = |name: &str| {
        unlabelled
            && is_buildpack
            && (names.is_empty() || names.iter().any(|wanted| wanted == name))
    };
    let all = (1..)
        .zip(ask.control.buildpacks())
        .filter(|(_, name)| wanted(name));
    let all = all.map(|(position, name)| Buildpack {
        guid: named_guid(name),
        name: (*name).to_owned(),
        state: "READY".into(),
        position,
        enabled: true,
        locked: true,
        lifecycle: "buildpack".into(),
        ..Buildpack::default()
    });
    Ok(Json(query.answer(
        &ask.urls,
        query.part(all.collect()),
        |buildpack| buildpack,
    )))
}

/// A GUID for things that are known by name: the name's first 16 bytes.
pub(super) fn named_guid(name: &str) -> String {
    let mut bytes = [0; 16];
    for (byte, from) in bytes.iter_mut().zip(name.bytes()) {
        *byte = from;
    }
    uuid::Uuid::from_bytes(bytes).to_string()
}
