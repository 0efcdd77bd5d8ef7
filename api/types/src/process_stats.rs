//! What the instances of a process do right now.

use serde::{Deserialize, Serialize};

/// Answer to `GET /v3/processes/G/stats` and `GET /v3/apps/G/processes/TYPE/stats`. Never paged.
///
/// An empty list counts as "started" for `cf`: instances that are not placed yet must be listed as `STARTING` or `DOWN`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProcessStats {
    pub resources: Vec<InstanceStats>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct InstanceStats {
    /// The process type.
    #[serde(rename = "type")]
    pub kind: String,
    pub index: u32,
    /// A GUID of this life of the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_guid: Option<String>,
    pub state: InstanceState,
    #[serde(default)]
    pub routable: Option<bool>,
    /// Absent or empty while the instance is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_internal_ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_ports: Option<Vec<InstancePort>>,
    /// Seconds.
    #[serde(default)]
    pub uptime: Option<u64>,
    /// Bytes.
    #[serde(default)]
    pub mem_quota: Option<u64>,
    /// Bytes.
    #[serde(default)]
    pub disk_quota: Option<u64>,
    /// Bytes per second; -1 means unlimited.
    #[serde(default)]
    pub log_rate_limit: Option<i64>,
    #[serde(default)]
    pub fds_quota: Option<u64>,
    #[serde(default)]
    pub isolation_segment: Option<String>,
    /// Why it is down or crashed, for people: the cause on the first line, the evidence on those after it.
    #[serde(default)]
    pub details: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InstanceState {
    Running,
    Starting,
    Stopping,
    Crashed,
    #[default]
    Down,
    /// A state of a newer server.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// When it was measured.
    #[serde(default)]
    pub time: Option<String>,
    /// Share of one core: 1.0 is one core fully used.
    #[serde(default)]
    pub cpu: Option<f64>,
    #[serde(default)]
    pub cpu_entitlement: Option<f64>,
    /// Bytes.
    #[serde(default)]
    pub mem: Option<u64>,
    /// Bytes.
    #[serde(default)]
    pub disk: Option<u64>,
    /// Bytes per second.
    #[serde(default)]
    pub log_rate: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InstancePort {
    #[serde(default)]
    pub external: Option<u16>,
    pub internal: u16,
    #[serde(default)]
    pub external_tls_proxy_port: Option<u16>,
    #[serde(default)]
    pub internal_tls_proxy_port: Option<u16>,
}
