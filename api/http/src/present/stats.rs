//! What the instances of a process do.

use api_control::{IndexState, IndexStats, log_rate_number};
use api_types::{InstancePort, InstanceState, InstanceStats, ProcessInstance, Usage};
use model::protocol::cell::Isolation;

use super::time;

/// `now_us` is the time of the answer, in microseconds since the Unix epoch.
pub(crate) fn stats(process_type: &str, row: IndexStats, now_us: i64) -> InstanceStats {
    let is_up = matches!(
        row.state,
        IndexState::Running | IndexState::Starting | IndexState::Stopping
    );
    InstanceStats {
        kind: process_type.to_owned(),
        index: row.index,
        instance_guid: row.instance.map(|instance| instance.to_string()),
        state: state(row.state),
        routable: Some(row.state == IndexState::Running),
        usage: row.usage.map(|usage| Usage {
            time: Some(time(now_us)),
            cpu: Some(usage.cpu),
            cpu_entitlement: None,
            mem: Some(usage.memory_bytes),
            disk: Some(usage.disk_bytes),
            log_rate: Some(usage.log_rate),
        }),
        host: row.cell,
        instance_internal_ip: row.address.map(|address| address.ip().to_string()),
        instance_ports: row.address.map(|address| {
            vec![InstancePort {
                external: None,
                internal: address.port(),
                external_tls_proxy_port: None,
                internal_tls_proxy_port: None,
            }]
        }),
        uptime: Some(if is_up {
            since(row.since_us, now_us)
        } else {
            0
        }),
        mem_quota: Some(row.memory.bytes()),
        disk_quota: Some(row.disk.bytes()),
        log_rate_limit: Some(log_rate_number(row.log_rate)),
        fds_quota: None,
        // Clients print it beside the app, which is where a weaker wall must be seen.
        isolation_segment: (row.isolation == Isolation::Process).then(|| "process".to_owned()),
        details: row.details,
    }
}

pub(crate) fn process_instance(row: &IndexStats, now_us: i64) -> ProcessInstance {
    ProcessInstance {
        index: row.index,
        state: state(row.state),
        since: since(row.since_us, now_us),
    }
}

const fn state(state: IndexState) -> InstanceState {
    match state {
        IndexState::Running => InstanceState::Running,
        IndexState::Starting => InstanceState::Starting,
        IndexState::Stopping => InstanceState::Stopping,
        IndexState::Crashed => InstanceState::Crashed,
        IndexState::Down => InstanceState::Down,
    }
}

/// Whole seconds.
fn since(since_us: i64, now_us: i64) -> u64 {
    u64::try_from((now_us - since_us) / 1_000_000).unwrap_or(0)
}
