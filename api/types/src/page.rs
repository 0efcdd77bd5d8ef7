//! Lists, page by page.

use serde::{Deserialize, Serialize};

use crate::{App, Link, Organization, ServiceInstance, Space, User};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    #[serde(default)]
    pub pagination: Pagination,
    pub resources: Vec<T>,
    /// What `include=` asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub included: Option<Included>,
}

/// `next` and `previous` are `null` at the ends. Clients follow `next.href` until there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pagination {
    #[serde(default)]
    pub total_results: u64,
    #[serde(default)]
    pub total_pages: u64,
    #[serde(default)]
    pub first: Link,
    #[serde(default)]
    pub last: Link,
    #[serde(default)]
    pub next: Option<Link>,
    #[serde(default)]
    pub previous: Option<Link>,
}

/// Resources that the listed ones refer to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Included {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<App>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<Organization>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spaces: Vec<Space>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_instances: Vec<ServiceInstance>,
}
