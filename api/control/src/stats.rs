//! What runs, as people see it.

use std::net::SocketAddr;

use model::droplet::Stack;
use model::ids::{CellId, InstanceId, ProcessId};
use model::instance::Exit;
use model::limits::Megabytes;
use model::protocol::cell::{CellCapacity, InstanceUsage, Isolation};
use scheduler::{IndexStatus, IndexView};
use store::records::Process;

use crate::fleet::{FailedRelease, Wanted};
use crate::{Actor, Control, Error, Result, exit_text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexState {
    Running,
    Starting,
    Stopping,
    Crashed,
    /// Nothing runs and nothing is under way: it waits for room.
    Down,
}

/// One index of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexStats {
    pub index: u32,
    pub state: IndexState,
    pub instance: Option<InstanceId>,
    /// The name of its cell.
    pub cell: Option<String>,
    pub address: Option<SocketAddr>,
    /// Microseconds since the Unix epoch.
    pub since_us: i64,
    pub usage: Option<InstanceUsage>,
    pub memory: Megabytes,
    pub disk: Megabytes,
    pub log_rate: Option<u64>,
    /// Why it is not running, in words.
    pub details: Option<String>,
    pub exit: Option<Exit>,
    /// The release it belongs to.
    pub revision: Option<u32>,
    pub isolation: Isolation,
}

/// A release that did not start, told to whoever waits for it; the one before serves on.
fn failed_rows(failed: &FailedRelease, wanted: &Wanted, isolation: Isolation) -> Vec<IndexStats> {
    let details = format!(
        "{}\n  kept       v{} is still live; nothing changed for your users",
        failed.error, failed.previous_revision
    );
    let row = |index| IndexStats {
        index,
        state: IndexState::Crashed,
        instance: None,
        cell: None,
        address: None,
        since_us: store::now_us(),
        usage: None,
        memory: wanted.newer.spec.limits.memory,
        disk: wanted.newer.spec.limits.disk,
        log_rate: wanted.newer.spec.log_rate,
        details: Some(details.clone()),
        exit: failed.exit.clone(),
        revision: Some(failed.previous_revision),
        isolation,
    };
    (0..wanted.instances).map(row).collect()
}

/// A cell, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellInfo {
    pub id: CellId,
    pub name: String,
    pub zone: String,
    pub stack: Stack,
    pub isolation: Isolation,
    pub capacity: CellCapacity,
    pub used: CellCapacity,
    pub connected: bool,
}

/// Figures for `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub cells: usize,
    /// Cells that an earlier server knew and that have not reported to this one yet.
    pub awaited_cells: usize,
    /// Cells that were lost at once, while replacements wait for their return.
    pub lost_cells: usize,
    pub desired_instances: u64,
    pub starting: u64,
    pub running: u64,
    pub stopping: u64,
    pub exited: u64,
    pub routes: usize,
}

impl Control {
    /// One row an index. Empty where nothing is desired.
    pub async fn process_stats(&self, actor: &Actor, id: ProcessId) -> Result<Vec<IndexStats>> {
        let process = self.process(actor, id).await?;
        Ok(self.stats_of(&process))
    }

    /// [`Control::process_stats`] of a process that was read already.
    #[must_use]
    pub fn stats_of(&self, process: &Process) -> Vec<IndexStats> {
        let (wanted, views) = self.fleet().indices(process.id);
        // What is shown as running has its route: whoever hears of it may use it at once.
        self.fleet().tell_routes();
        let Some(wanted) = wanted else {
            return Vec::new();
        };
        let isolation = self.fleet().isolation().unwrap_or(Isolation::Container);
        if let Some(failed) = self.fleet().failed_release(process.app) {
            return failed_rows(&failed, &wanted, isolation);
        }
        let rows = views
            .into_iter()
            .filter(|view| view.index < wanted.instances);
        rows.map(|view| self.row(view, process.id, &wanted, process.memory, isolation))
            .collect()
    }

    fn row(
        &self,
        view: IndexView,
        process: ProcessId,
        wanted: &Wanted,
        process_memory: Megabytes,
        isolation: Isolation,
    ) -> IndexStats {
        let edition = wanted.at(view.index);
        let limits = edition.spec.limits;
        let stale = view
            .version
            .is_some_and(|version| version != edition.version);
        let (state, address, exit) = match view.status {
            // An instance of an older release that is about to go tells nothing of the one that was asked for.
            IndexStatus::Running { .. } | IndexStatus::Starting | IndexStatus::Stopping
                if stale =>
            {
                (IndexState::Starting, None, None)
            }
            // Whoever hears "running" may expect that every request finds the release that was asked for.
            IndexStatus::Running { .. }
                if self.fleet().older_serves(wanted, process, view.index) =>
            {
                (IndexState::Starting, None, None)
            }
            IndexStatus::Running { address } => (IndexState::Running, Some(address), None),
            IndexStatus::Starting => (IndexState::Starting, None, None),
            IndexStatus::Stopping => (IndexState::Stopping, None, None),
            IndexStatus::Crashed { exit, .. } => (IndexState::Crashed, None, Some(exit)),
            IndexStatus::Unplaced if view.blocked.is_some() => (IndexState::Down, None, None),
            IndexStatus::Unplaced => (IndexState::Starting, None, None),
        };
        let details = match (&exit, &view.blocked) {
            (Some(exit), _) => Some(exit_text(exit)),
            (None, Some(why)) => Some(match why {
                scheduler::PlacementError::Insufficient { short, .. } if short == &["disk"] => {
                    format!(
                        "{}; an instance needs {} of it, more than any cell has left to promise",
                        self.fleet().shortage_text(why),
                        limits.disk
                    )
                }
                scheduler::PlacementError::Insufficient {
                    largest_free_memory_mb,
                    ..
                } => format!(
                    "{}; an instance needs {}, the largest free room on a cell is {}",
                    self.fleet().shortage_text(why),
                    process_memory.max(limits.memory),
                    Megabytes(*largest_free_memory_mb)
                ),
                other => other.to_string(),
            }),
            // Trying again: what ended the try before is all there is to say.
            (None, None) if state != IndexState::Running => self
                .fleet()
                .last_exit(process, view.index, edition.version)
                .as_ref()
                .map(exit_text),
            (None, None) => None,
        };
        IndexStats {
            index: view.index,
            state,
            instance: view.instance,
            cell: view.cell.and_then(|cell| self.fleet().cell_name(cell)),
            address,
            since_us: view.since.0,
            usage: view
                .instance
                .and_then(|instance| self.fleet().usage(instance)),
            memory: limits.memory,
            disk: limits.disk,
            log_rate: edition.spec.log_rate,
            details,
            exit,
            revision: Some(edition.revision),
            isolation,
        }
    }

    /// Stops one instance and starts a new one in its place.
    pub async fn restart_instance(
        &self,
        actor: &Actor,
        process: ProcessId,
        index: u32,
    ) -> Result<()> {
        let stats = self.process_stats(actor, process).await?;
        if !stats.iter().any(|row| row.index == index) {
            return Err(Error::NotFound { what: "Instance" });
        }
        self.store().forgive_crashes(process, index).await?;
        self.fleet().restart_instance(process, index);
        Ok(())
    }

    pub async fn cells(&self, _: &Actor) -> Vec<CellInfo> {
        self.fleet().cells()
    }

    /// The stack that new droplets get; none while no cell is connected.
    #[must_use]
    pub fn stack(&self) -> Option<Stack> {
        self.fleet().stack()
    }

    /// How apart apps are kept here, by the weakest connected cell; none while no cell is connected.
    #[must_use]
    pub fn isolation(&self) -> Option<Isolation> {
        self.fleet().isolation()
    }

    /// Whether wishes can come true: the store answers, all known cells have spoken, and there is one.
    pub async fn is_ready(&self) -> bool {
        self.fleet().is_settled()
            && self.counts().cells > 0
            && self.store().setting("epoch").await.is_ok()
    }

    /// What an operator should look at, in a sentence each; empty where all is well.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        self.fleet().alarms()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            routes: self.inner.routes.len(),
            ..self.fleet().counts()
        }
    }
}
