//! Processes of an app: how many, how large, how started, how checked.

use model::health::HealthCheck;
use model::ids::{AppId, ProcessId, SpaceId};
use model::limits::Megabytes;
use serde_json::json;
use store::ProcessUpdate;
use store::records::{Droplet, Page, PageRequest, Process};

use crate::error::OrNotFound;
use crate::{Actor, Control, Error, Result};

#[derive(Debug, Clone, Default)]
pub struct ProcessFilter {
    pub guids: Vec<ProcessId>,
    pub apps: Vec<AppId>,
    pub spaces: Vec<SpaceId>,
}

/// New figures of a process; `None` leaves one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scale {
    pub instances: Option<u32>,
    pub memory: Option<Megabytes>,
    pub disk: Option<Megabytes>,
    /// Bytes of output per second; `Some(None)` takes the limit away.
    pub log_rate: Option<Option<u64>>,
}

impl Scale {
    /// Whether it leaves all figures as they are.
    pub(crate) const fn is_empty(&self) -> bool {
        let Self {
            instances,
            memory,
            disk,
            log_rate,
        } = self;
        instances.is_none() && memory.is_none() && disk.is_none() && log_rate.is_none()
    }

    /// Gives a process these figures.
    pub(crate) fn apply(&self, process: &mut Process) {
        process.instances = self.instances.unwrap_or(process.instances);
        process.memory = self.memory.unwrap_or(process.memory);
        process.disk = self.disk.unwrap_or(process.disk);
        process.log_rate = self.log_rate.unwrap_or(process.log_rate);
    }
}

impl From<Scale> for ProcessUpdate {
    fn from(scale: Scale) -> Self {
        Self {
            instances: scale.instances,
            memory: scale.memory,
            disk: scale.disk,
            log_rate: scale.log_rate,
            ..Self::default()
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct ProcessChange {
    /// `Some(None)` goes back to the droplet's own command.
    pub command: Option<Option<String>>,
    pub health: Option<HealthCheck>,
}

const MAX_INSTANCES: u32 = 10_000;
const MAX_COMMAND_BYTES: usize = 4096;

impl Control {
    pub async fn list_processes(
        &self,
        _: &Actor,
        filter: &ProcessFilter,
        page: PageRequest,
    ) -> Result<Page<Process>> {
        Ok(self
            .store()
            .list_processes(&filter.guids, &filter.apps, &filter.spaces, page)
            .await?)
    }

    pub async fn process(&self, _: &Actor, id: ProcessId) -> Result<Process> {
        self.store().find_process(id).await.or_not_found("Process")
    }

    pub async fn app_process(
        &self,
        actor: &Actor,
        app: AppId,
        process_type: &str,
    ) -> Result<Process> {
        self.app(actor, app).await?;
        let processes = self.processes_of(app).await?;
        let found = processes
            .into_iter()
            .find(|process| process.process_type == process_type);
        found.ok_or(Error::NotFound { what: "Process" })
    }

    pub(crate) async fn processes_of(&self, app: AppId) -> Result<Vec<Process>> {
        Ok(self
            .store()
            .list_processes(&[], &[app], &[], PageRequest::ALL)
            .await?
            .items)
    }

    /// What starts a process: the user's own command, else the droplet's.
    #[must_use]
    pub fn effective_command(process: &Process, droplet: Option<&Droplet>) -> Option<String> {
        let from_droplet = || {
            droplet?
                .image
                .process_types
                .get(&process.process_type)
                .cloned()
        };
        process.command.clone().or_else(from_droplet)
    }

    /// The number of instances changes at once; memory and disk at the next start, as in Cloud Foundry.
    pub async fn scale_process(
        &self,
        actor: &Actor,
        id: ProcessId,
        scale: Scale,
    ) -> Result<Process> {
        let process = self.process(actor, id).await?;
        check_scale(scale)?;
        if let Some(memory) = scale.memory {
            self.check_fits_some_cell(memory)?;
        }
        let app = self.app(actor, process.app).await?;
        if self.fleet().is_at_canary(app.id) {
            return Err(Error::unprocessable(
                "Cannot scale this process while a deployment is in flight.",
            ));
        }
        let process = self
            .store()
            .scale_process(id, &scale.into())
            .await
            .or_not_found("Process")?;
        if scale.instances.is_some() {
            self.fleet().refresh_app(app.id).await?;
        }
        let data = json!({ "request": {
            "instances": scale.instances, "memory_in_mb": scale.memory, "disk_in_mb": scale.disk,
            "log_rate_limit_in_bytes_per_second": scale.log_rate.map(log_rate_number),
        }});
        self.audit_app(actor, "audit.app.process.scale", &app, data)
            .await;
        Ok(process)
    }

    pub async fn update_process(
        &self,
        actor: &Actor,
        id: ProcessId,
        change: ProcessChange,
    ) -> Result<Process> {
        let process = self.process(actor, id).await?;
        if let Some(Some(command)) = &change.command {
            check_command(command)?;
        }
        if let Some(health) = &change.health {
            check_health(health)?;
        }
        let update = ProcessUpdate {
            command: change.command,
            health: change.health,
            ..ProcessUpdate::default()
        };
        let updated = self
            .store()
            .update_process(id, &update)
            .await
            .or_not_found("Process")?;
        let app = self.app(actor, process.app).await?;
        self.audit_app(actor, "audit.app.process.update", &app, json!({}))
            .await;
        Ok(updated)
    }

    /// A request that no cell could ever grant is refused at once.
    pub(crate) fn check_fits_some_cell(&self, memory: Megabytes) -> Result<()> {
        match self.fleet().largest_cell_memory() {
            Some(largest) if memory > largest => Err(Error::NoCapacity(format!(
                "an instance with {memory} of memory fits no cell: the largest has {largest} for apps"
            ))),
            _ => Ok(()),
        }
    }
}

/// A limit of the log rate as Cloud Foundry writes it: -1 for none.
#[must_use]
pub fn log_rate_number(rate: Option<u64>) -> i64 {
    rate.map_or(-1, |rate| i64::try_from(rate).unwrap_or(i64::MAX))
}

pub(crate) fn check_scale(scale: Scale) -> Result<()> {
    if scale
        .instances
        .is_some_and(|instances| instances > MAX_INSTANCES)
    {
        return Err(Error::Unprocessable(format!(
            "instances must be at most {MAX_INSTANCES}"
        )));
    }
    if scale.memory.is_some_and(|memory| memory.0 < 16) {
        return Err(Error::unprocessable("memory must be at least 16M"));
    }
    if scale.disk.is_some_and(|disk| disk.0 < 16) {
        return Err(Error::unprocessable("disk must be at least 16M"));
    }
    Ok(())
}

pub(crate) fn check_command(command: &str) -> Result<()> {
    if command.trim().is_empty() || command.len() > MAX_COMMAND_BYTES || command.contains('\0') {
        return Err(Error::Unprocessable(format!(
            "command must be 1 to {MAX_COMMAND_BYTES} bytes without NUL"
        )));
    }
    Ok(())
}

pub(crate) fn check_health(health: &HealthCheck) -> Result<()> {
    if health.start_timeout.is_zero() || health.start_timeout > HealthCheck::MAX_START_TIMEOUT {
        return Err(Error::Unprocessable(format!(
            "the health check's timeout must be 1 to {} seconds",
            HealthCheck::MAX_START_TIMEOUT.as_secs()
        )));
    }
    if health.invocation_timeout.is_zero() {
        return Err(Error::unprocessable(
            "one try of the health check must be given at least 1 second",
        ));
    }
    if let model::health::HealthCheckKind::Http { endpoint } = &health.kind
        && (!endpoint.starts_with('/')
            || endpoint.len() > 255
            || endpoint.contains(|c: char| c.is_control() || c == ' '))
    {
        return Err(Error::unprocessable(
            "the health check's endpoint must be a path that starts with '/'",
        ));
    }
    Ok(())
}
