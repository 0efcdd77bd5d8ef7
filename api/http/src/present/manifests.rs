//! What a manifest would change.

use api_control::ManifestDiff;
use api_types::{ManifestChange, ManifestOp};

pub(crate) fn manifest_diff(changes: Vec<ManifestDiff>) -> api_types::ManifestDiff {
    let diff = changes.into_iter().map(|change| ManifestChange {
        op: match change.op {
            "remove" => ManifestOp::Remove,
            "replace" => ManifestOp::Replace,
            _ => ManifestOp::Add,
        },
        path: change.path,
        was: change.was,
        value: change.value,
    });
    api_types::ManifestDiff {
        diff: diff.collect(),
    }
}
