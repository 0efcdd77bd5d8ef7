//! Processes.

use api_control::{Control, log_rate_number, records};
use api_types::{
    HIDDEN_IN_LISTS, HealthCheck, HealthCheckData, Link, Process, ProcessRelationships,
    ReadinessHealthCheck, ToOne,
};
use model::health::{HealthCheck as Check, HealthCheckKind};

use super::time;
use crate::urls::Urls;

/// A process with the command that starts it.
pub(crate) fn process(
    urls: &Urls,
    process: &records::Process,
    droplet: Option<&records::Droplet>,
) -> Process {
    let command = Control::effective_command(process, droplet);
    Process {
        command,
        ..process_in_list(urls, process)
    }
}

/// Commands may hold secrets; lists hide them, as Cloud Foundry's do.
pub(crate) fn process_in_list(urls: &Urls, process: &records::Process) -> Process {
    let own = format!("/v3/processes/{}", process.id);
    let mut links = urls.links([
        ("self", own.clone()),
        ("app", format!("/v3/apps/{}", process.app)),
        ("stats", format!("{own}/stats")),
    ]);
    links.insert(
        "scale".into(),
        Link::post(urls.to(&format!("{own}/actions/scale"))),
    );
    Process {
        guid: process.id.to_string(),
        created_at: time(process.created_us),
        updated_at: Some(time(process.updated_us)),
        version: process.id.to_string(),
        kind: process.process_type.clone(),
        command: Some(HIDDEN_IN_LISTS.into()),
        user: Some("vcap".into()),
        instances: process.instances,
        memory_in_mb: process.memory.0,
        disk_in_mb: process.disk.0,
        log_rate_limit_in_bytes_per_second: log_rate_number(process.log_rate),
        health_check: health_check(&process.health),
        readiness_health_check: ReadinessHealthCheck {
            kind: "process".into(),
            ..ReadinessHealthCheck::default()
        },
        relationships: ProcessRelationships {
            app: ToOne::to(process.app.to_string()),
            revision: ToOne::none(),
        },
        links,
        ..Process::default()
    }
}

fn health_check(check: &Check) -> HealthCheck {
    let (kind, endpoint) = match &check.kind {
        HealthCheckKind::Port => ("port", None),
        HealthCheckKind::Http { endpoint } => ("http", Some(endpoint.clone())),
        HealthCheckKind::Process => ("process", None),
    };
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).ok();
    HealthCheck {
        kind: kind.into(),
        data: HealthCheckData {
            timeout: seconds(check.start_timeout),
            invocation_timeout: seconds(check.invocation_timeout),
            interval: None,
            endpoint,
        },
    }
}
