//! Files that need no upload.

use api_control::ResourceRef;
use api_types::{ResourceChecksum, ResourceMatch};

/// The mode is octal; clients refuse a match without one.
pub(crate) fn resource_match(resource: ResourceRef) -> ResourceMatch {
    ResourceMatch {
        checksum: ResourceChecksum {
            value: resource.sha1,
        },
        size_in_bytes: resource.size,
        path: resource.path.unwrap_or_default(),
        mode: format!("{:o}", resource.mode.unwrap_or(0o644)),
    }
}
