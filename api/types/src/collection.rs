//! What the server keeps, and what it need not. Slipway's own: Cloud Foundry's API has nothing like it.

use serde::{Deserialize, Serialize};

/// `POST /v3/x-collection` collects now; `GET /v3/x-collection` says what would go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Collection {
    /// Nothing went.
    pub dry_run: bool,
    /// Bytes that went, or would.
    pub freed_bytes: u64,
    pub blobs: u64,
    pub releases: u64,
    pub droplets: u64,
    pub packages: u64,
    pub builds: u64,
    pub deployments: u64,
    pub events: u64,
    pub disk: DiskUse,
}

/// The server's disk, and who uses it, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskUse {
    pub size_bytes: u64,
    pub free_bytes: u64,
    /// Uploads and builds leave this much free.
    pub keep_free_bytes: u64,
    pub droplets_bytes: u64,
    pub packages_bytes: u64,
    pub database_bytes: u64,
    /// The apps whose releases are the largest.
    pub largest_apps: Vec<AppDiskUse>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AppDiskUse {
    pub guid: String,
    pub name: String,
    pub releases: u64,
    pub bytes: u64,
}
