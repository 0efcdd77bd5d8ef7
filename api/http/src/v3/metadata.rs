//! Labels and annotations in requests.

use api_control::records;
use api_types::Metadata;

use crate::error::{ApiError, Outcome};

/// Of something new: names without a value are none.
pub(super) fn initial(metadata: Option<Metadata>) -> records::Metadata {
    let metadata = metadata.unwrap_or_default();
    let known = |map: std::collections::BTreeMap<String, Option<String>>| {
        map.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    };
    records::Metadata {
        labels: known(metadata.labels),
        annotations: known(metadata.annotations),
    }
}

/// Changes of what is there.
pub(super) fn patched(mut known: records::Metadata, changes: Metadata) -> records::Metadata {
    for (map, changes) in [
        (&mut known.labels, changes.labels),
        (&mut known.annotations, changes.annotations),
    ] {
        for (name, value) in changes {
            match value {
                Some(value) => map.insert(name, value),
                None => map.remove(&name),
            };
        }
    }
    known
}

/// What is not kept must not seem to be.
pub(super) fn refuse(metadata: Option<&Metadata>, what: &str) -> Outcome<()> {
    match metadata {
        Some(metadata) if !metadata.labels.is_empty() || !metadata.annotations.is_empty() => {
            Err(ApiError::unprocessable(format!(
                "labels and annotations of {what} are not supported; apps and service instances have them"
            )))
        }
        _ => Ok(()),
    }
}
