//! Health checks of a process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When an instance counts as started, and what ends it later.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HealthCheck {
    pub kind: HealthCheckKind,
    /// How long an instance may take until its first successful check. Cloud Foundry's default is 60 s, at most 180 s.
    pub start_timeout: Duration,
    /// How long one try may take. Diego's default is 1 s.
    pub invocation_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheckKind {
    /// A TCP connection to `$PORT` succeeds.
    Port,
    /// `GET endpoint` on `$PORT` answers exactly 200, as Diego's check demands.
    Http { endpoint: String },
    /// The process runs.
    Process,
}

impl HealthCheck {
    pub const START_TIMEOUT: Duration = Duration::from_secs(60);
    pub const MAX_START_TIMEOUT: Duration = Duration::from_secs(180);
    pub const INVOCATION_TIMEOUT: Duration = Duration::from_secs(1);

    /// The default of a process type: `port` for `web`, `process` for all others.
    #[must_use]
    pub fn default_for(process_type: &str) -> Self {
        let kind = if process_type == "web" {
            HealthCheckKind::Port
        } else {
            HealthCheckKind::Process
        };
        Self {
            kind,
            start_timeout: Self::START_TIMEOUT,
            invocation_timeout: Self::INVOCATION_TIMEOUT,
        }
    }
}
