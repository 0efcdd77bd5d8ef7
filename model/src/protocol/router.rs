//! What a server tells its routers.
//!
//! A router opens `GET /internal/routes` on the server's internal socket and reads NDJSON of [`RouteMessage`] for as long
//! as the connection lasts: first a snapshot, then deltas, and a keep-alive at least every [`KEEP_ALIVE`]. A router keeps
//! its last table on disk and serves from it while no server answers.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{AppId, InstanceId, ProcessId};
use crate::route::RouteKey;

pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "routes", rename_all = "snake_case")]
pub enum RouteMessage {
    Snapshot(RouteTable),
    /// Entries that are new or changed, and keys that are gone. Applies to `version - 1`.
    Delta {
        version: u64,
        changed: Vec<RouteEntry>,
        removed: Vec<RouteKey>,
    },
    KeepAlive,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RouteTable {
    pub version: u64,
    /// Hosts that lead to the control plane, matched exactly and before any route. IP literals always do.
    pub control_hosts: Vec<String>,
    pub entries: Vec<RouteEntry>,
}

/// A route with the instances behind it. A route whose app has no running instance has an entry without endpoints, so
/// that the router can tell "unknown" (404) from "nothing runs" (503).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    #[serde(flatten)]
    pub key: RouteKey,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub app: AppId,
    pub process: ProcessId,
    pub instance: InstanceId,
    pub index: u32,
    pub address: SocketAddr,
}
