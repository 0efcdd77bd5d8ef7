//! Hosts and paths that lead to apps.

use serde::{Deserialize, Serialize};

/// A route's host and path, ready for look-up: host in lower case without port, path empty or starting with `/` and
/// without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteKey {
    pub host: String,
    pub path: String,
}
