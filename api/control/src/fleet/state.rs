//! What the fleet knows, in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use model::ids::{AppId, CellId, InstanceId, ProcessId, TaskId, VersionId};
use model::instance::{Exit, ExitReason, InstanceReport, InstanceState};
use model::limits::Megabytes;
use model::protocol::cell::{CellCapacity, CellHello, InstanceUsage, OrderBody};
use model::protocol::router::Endpoint;
use scheduler::{DesiredProcess, Event, Older, PlacementError, SILENT, Scheduler, Time};
use store::records::{Deployment, DesiredLrp, LrpSpec, Outline};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::clock::Clock;
use super::rolling::{FailedRelease, Rolling};
use super::wishes::{Wish, wishes};
use crate::stats::Counts;

/// Orders that wait to be written to one cell. A cell that takes none for so long is as good as lost.
pub(super) const MAX_WAITING_ORDERS: usize = 10_000;

#[derive(Debug)]
pub(super) struct State {
    clock: Clock,
    pub(super) scheduler: Scheduler,
    pub(super) cells: BTreeMap<CellId, CellLink>,
    pub(super) wanted: HashMap<ProcessId, Wanted>,
    /// What was read of the apps that something is wanted of.
    outlines: HashMap<AppId, Outline>,
    pub(super) reports: HashMap<InstanceId, (CellId, InstanceReport)>,
    /// What ran on cells that are lost, and perhaps still does: routes lead there until their index runs elsewhere.
    pub(super) suspects: HashMap<InstanceId, (CellId, InstanceReport)>,
    pub(super) usage: HashMap<InstanceId, InstanceUsage>,
    /// Reported and suspect instances by app, for routes.
    pub(super) of_app: HashMap<AppId, BTreeSet<InstanceId>>,
    /// Apps whose endpoints changed since the routes were last told.
    pub(super) stale_routes: BTreeSet<AppId>,
    /// Every cell that may hold instances has spoken since this server started, or was given up.
    pub(super) settled: bool,
    /// The alarm about lost cells rings.
    pub(super) braked: bool,
    /// How the last instance of an index ended, while its successor has not become healthy.
    pub(super) last_exits: HashMap<(ProcessId, u32), (VersionId, Exit)>,
    /// Deployments under way, by app.
    pub(super) rolling: HashMap<AppId, Rolling>,
    /// Releases that did not start, for a moment.
    pub(super) failed_releases: HashMap<AppId, FailedRelease>,
    /// When a waiting task began to wait, to end it with an answer.
    pub(super) waiting_tasks: HashMap<TaskId, Instant>,
    /// Sessions that began so far.
    pub(super) sessions: u64,
    /// Tasks that were ordered in this server's life and have not ended, with their cells.
    pub(super) ordered_tasks: HashMap<TaskId, CellId>,
    /// A task could not be ordered, or its cell is lost: those that have not ended are read again.
    pub(super) reread_tasks: bool,
}

/// What should run of a process.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) app: AppId,
    pub(crate) process_type: String,
    pub(crate) newer: Edition,
    /// During a canary deployment: what the indices below the number stay with.
    pub(crate) older: Option<(Edition, u32)>,
    pub(crate) instances: u32,
}

/// A process as one release has it.
#[derive(Debug, Clone)]
pub(crate) struct Edition {
    pub(crate) version: VersionId,
    pub(crate) revision: u32,
    pub(crate) spec: Arc<LrpSpec>,
}

impl Wanted {
    /// What an index should run.
    pub(crate) fn at(&self, index: u32) -> &Edition {
        match &self.older {
            Some((older, below)) if index < *below => older,
            _ => &self.newer,
        }
    }

    fn editions(&self) -> impl Iterator<Item = &Edition> {
        std::iter::once(&self.newer).chain(self.older.as_ref().map(|(older, _)| older))
    }

    /// The edition of this version, if it is wanted.
    pub(crate) fn edition(&self, version: VersionId) -> Option<&Edition> {
        self.editions().find(|edition| edition.version == version)
    }
}

/// A cell that spoke within its TTL.
#[derive(Debug)]
pub(super) struct CellLink {
    pub(super) hello: CellHello,
    pub(super) orders: Option<mpsc::Sender<OrderBody>>,
    /// Free space of its disk, as it said last.
    pub(super) free_disk: Option<Megabytes>,
    pub(super) heard: Instant,
    /// The number of its session, so that neither the end nor the last words of an old one touch the new one.
    pub(super) session: u64,
}

impl CellLink {
    pub(super) const fn is_connected(&self) -> bool {
        self.orders.is_some()
    }

    /// Whether it begins nothing new for lack of disk space.
    pub(super) fn has_full_disk(&self) -> bool {
        self.free_disk
            .is_some_and(|free| free < self.hello.min_free_disk)
    }

    /// What can be promised of it: nothing that needs disk while that is full, whatever is booked.
    pub(super) fn capacity(&self) -> CellCapacity {
        CellCapacity {
            disk: if self.has_full_disk() {
                Megabytes(0)
            } else {
                self.hello.capacity.disk
            },
            ..self.hello.capacity
        }
    }
}

impl State {
    pub(super) fn new(clock: Clock) -> Self {
        // Instance ids must not repeat over the lives of this server.
        let seed = InstanceId::random().as_uuid().as_u64_pair().0;
        Self {
            clock,
            scheduler: Scheduler::new(seed),
            cells: BTreeMap::new(),
            wanted: HashMap::new(),
            outlines: HashMap::new(),
            reports: HashMap::new(),
            suspects: HashMap::new(),
            usage: HashMap::new(),
            of_app: HashMap::new(),
            stale_routes: BTreeSet::new(),
            settled: false,
            braked: false,
            last_exits: HashMap::new(),
            rolling: HashMap::new(),
            failed_releases: HashMap::new(),
            waiting_tasks: HashMap::new(),
            sessions: 0,
            ordered_tasks: HashMap::new(),
            reread_tasks: false,
        }
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Takes note of a cell's free disk space. True where that changes what can be placed there.
    pub(super) fn note_free_disk(&mut self, cell: CellId, free: Megabytes) -> bool {
        let Some(link) = self.cells.get_mut(&cell) else {
            return false;
        };
        let was_full = link.has_full_disk();
        link.free_disk = Some(free);
        if link.has_full_disk() == was_full {
            return false;
        }
        let event = Event::CellUp {
            cell,
            zone: link.hello.zone.clone(),
            stack: link.hello.stack.clone(),
            capacity: link.capacity(),
        };
        if was_full {
            tracing::info!(cell.id = %cell, %free, "a cell's disk has room again");
        } else {
            tracing::warn!(cell.id = %cell, %free, kept = %link.hello.min_free_disk, "a cell's disk is full; nothing new is placed there");
        }
        self.apply(event);
        true
    }

    /// Why something waits for a cell, with the figures of full disks.
    pub(super) fn shortage_text(&self, why: &PlacementError) -> String {
        let mut text = why.to_string();
        if matches!(why, PlacementError::Insufficient { .. }) {
            for link in self.cells.values().filter(|link| link.has_full_disk()) {
                let free = link.free_disk.unwrap_or_default();
                let (name, kept) = (&link.hello.name, link.hello.min_free_disk);
                let _ = write!(
                    text,
                    "; the disk of {name} has {free} free and with less than {kept} begins nothing new"
                );
            }
        }
        text
    }

    pub(super) fn apply(&mut self, event: Event) {
        self.scheduler.apply(self.now(), event);
    }

    /// Takes over what should run of an app: the given LRPs and nothing else. They roll where a deployment is under way.
    pub(super) fn want_app(
        &mut self,
        app: AppId,
        lrps: &[DesiredLrp],
        deployment: Option<&Deployment>,
    ) {
        if lrps.is_empty() && deployment.is_none() {
            self.outlines.remove(&app);
        } else {
            self.outlines.insert(app, Outline::new(lrps, deployment));
        }
        let wishes = wishes(lrps, deployment);
        let of_app = self
            .wanted
            .iter()
            .filter(|(_, wanted)| wanted.app == app)
            .map(|(process, _)| *process);
        let gone = of_app
            .filter(|process| !wishes.iter().any(|wish| wish.lrp.process == *process))
            .collect::<Vec<_>>();
        for process in gone {
            self.unwant(process);
        }
        match deployment {
            Some(deployment) => {
                self.rolling.insert(app, Rolling::new(deployment, &wishes));
            }
            None => {
                self.rolling.remove(&app);
            }
        }
        let failed = self.failed_releases.get(&app);
        if failed.is_some_and(|failed| deployment.is_some() || !failed.is_last_word(lrps)) {
            self.failed_releases.remove(&app);
        }
        for wish in wishes {
            self.want(&wish);
        }
        // Of lost instances, those that are not wanted any more get no requests any more.
        self.stale_routes.insert(app);
    }

    /// Apps of which something else is desired than was read last.
    pub(super) fn changed_apps(&self, desired: &BTreeMap<AppId, Outline>) -> Vec<AppId> {
        let changed = desired
            .iter()
            .filter(|(app, outline)| self.outlines.get(app) != Some(outline))
            .map(|(app, _)| *app);
        let gone = self
            .outlines
            .keys()
            .filter(|app| !desired.contains_key(app));
        changed.chain(gone.copied()).collect()
    }

    /// Whether a task that was sent to this cell is lost with it.
    pub(super) fn is_lost(&self, cell: CellId) -> bool {
        self.settled
            && !self.cells.contains_key(&cell)
            && !self.scheduler.awaited().any(|awaited| awaited == cell)
    }

    fn want(&mut self, wish: &Wish<'_>) {
        let lrp = wish.lrp;
        let known = self.wanted.get(&lrp.process);
        let edition = |lrp: &DesiredLrp| {
            let known = known.and_then(|known| known.edition(lrp.version));
            known.cloned().unwrap_or_else(|| Edition {
                version: lrp.version,
                revision: lrp.revision,
                spec: Arc::new(lrp.spec.clone()),
            })
        };
        let wanted = Wanted {
            app: lrp.app,
            process_type: lrp.spec.process_type.clone(),
            newer: edition(lrp),
            older: wish.older.map(|(older, below)| (edition(older), below)),
            instances: wish.instances,
        };
        self.wanted.insert(lrp.process, wanted);
        self.apply(Event::Desire(DesiredProcess {
            process: lrp.process,
            version: lrp.version,
            instances: wish.instances,
            limits: lrp.spec.limits,
            stack: lrp.spec.stack.clone(),
            update: wish.update,
            older: wish.older.map(|(older, below)| Older {
                version: older.version,
                limits: older.spec.limits,
                stack: older.spec.stack.clone(),
                below,
            }),
        }));
    }

    pub(super) fn unwant(&mut self, process: ProcessId) {
        self.wanted.remove(&process);
        self.last_exits.retain(|(of, _), _| *of != process);
        self.apply(Event::Undesire { process });
    }

    /// Hands an order to a cell's session. Where there is none, or it does not keep up, the order is lost like any
    /// message may be: the cell's next full report settles what became of it. A session that lost one ends, so that
    /// there will be such a report.
    pub(super) fn send(&mut self, cell: CellId, order: OrderBody) {
        if let Some(link) = self.cells.get_mut(&cell)
            && let Some(orders) = &link.orders
            && orders.try_send(order).is_err()
        {
            tracing::warn!(cell.id = %cell, "an order could not be handed to the cell's session");
            link.orders = None;
        }
    }

    /// Whether this session is the one that speaks for the cell. What an older one still brings is stale.
    pub(super) fn is_session(&self, cell: CellId, session: u64) -> bool {
        self.cells
            .get(&cell)
            .is_some_and(|link| link.session == session)
    }

    /// Forgets a task.
    pub(super) fn end_task(&mut self, task: TaskId) {
        self.waiting_tasks.remove(&task);
        self.ordered_tasks.remove(&task);
        self.apply(Event::TaskEnded { task });
    }

    /// Takes over what a cell says of an instance.
    pub(super) fn take_report(&mut self, cell: CellId, report: InstanceReport, at: Time) {
        let is_late = self.is_late(&report);
        self.scheduler.apply(
            at,
            Event::Instance {
                cell,
                process: report.process,
                version: report.version,
                index: report.index,
                instance: report.instance,
                state: report.state.clone(),
            },
        );
        if is_late {
            return;
        }
        self.suspects.remove(&report.instance);
        self.stale_routes.insert(report.app);
        self.of_app
            .entry(report.app)
            .or_default()
            .insert(report.instance);
        let index = (report.process, report.index);
        match &report.state {
            InstanceState::Running { .. } => {
                self.last_exits.remove(&index);
                self.clear_suspects(&report);
            }
            InstanceState::Exited { exit } => {
                self.usage.remove(&report.instance);
                if exit.reason != ExitReason::Stopped && self.wanted.contains_key(&report.process) {
                    self.last_exits
                        .insert(index, (report.version, exit.clone()));
                }
            }
            InstanceState::Starting | InstanceState::Stopping => {}
        }
        self.reports.insert(report.instance, (cell, report));
    }

    /// Whether a later word of this instance is known: lives only go forward.
    fn is_late(&self, report: &InstanceReport) -> bool {
        let known = self.reports.get(&report.instance);
        let has_gone_on = known.is_some_and(|(_, known)| known.state.step() > report.state.step());
        has_gone_on || self.scheduler.has_ended(report.instance)
    }

    pub(super) fn forget(&mut self, instance: InstanceId) {
        self.usage.remove(&instance);
        let suspect = self.suspects.remove(&instance);
        if let Some((_, report)) = self.reports.remove(&instance).or(suspect) {
            self.stale_routes.insert(report.app);
            if let Some(instances) = self.of_app.get_mut(&report.app) {
                instances.remove(&instance);
                if instances.is_empty() {
                    self.of_app.remove(&report.app);
                }
            }
        }
    }

    /// The cell is lost: so is all that ran there, as far as anybody can know. Perhaps only nobody hears of it; so requests
    /// are led there until another instance runs in the place of each, and routers find out themselves which is dead.
    pub(super) fn lose_cell(&mut self, cell: CellId) {
        self.cells.remove(&cell);
        let gone = self
            .reports
            .iter()
            .filter(|(_, (on, _))| *on == cell)
            .map(|(id, (_, report))| (*id, report.clone()))
            .collect::<Vec<_>>();
        for (instance, report) in gone {
            self.forget(instance);
            if matches!(report.state, InstanceState::Running { .. }) {
                self.of_app.entry(report.app).or_default().insert(instance);
                self.suspects.insert(instance, (cell, report));
            }
        }
        // Of cells that vanish together each is given up in its own time.
        let silent = self
            .cells
            .values()
            .filter(|link| link.heard.elapsed() > SILENT)
            .count();
        self.apply(Event::CellDown { cell, silent });
    }

    /// An instance runs in the place of those that were lost with their cells.
    fn clear_suspects(&mut self, running: &InstanceReport) {
        let of_app = self.of_app.get(&running.app).into_iter().flatten();
        let replaced = of_app.filter(|instance| {
            self.suspects.get(*instance).is_some_and(|(_, suspect)| {
                suspect.process == running.process && suspect.index == running.index
            })
        });
        for instance in replaced.copied().collect::<Vec<_>>() {
            self.forget(instance);
        }
    }

    /// Whether a lost instance is still what its index should be.
    fn is_wanted(&self, suspect: &InstanceReport) -> bool {
        self.wanted
            .get(&suspect.process)
            .is_some_and(|wanted| suspect.index < wanted.instances)
    }

    /// Where requests for an app's processes go now, with the type of each process.
    pub(super) fn endpoints(&self, app: AppId) -> Vec<(String, Endpoint)> {
        let instances = self.of_app.get(&app).into_iter().flatten();
        let mut endpoints = instances
            .filter_map(|instance| {
                let suspect = || {
                    self.suspects
                        .get(instance)
                        .filter(|(_, suspect)| self.is_wanted(suspect))
                };
                let (_, report) = self.reports.get(instance).or_else(suspect)?;
                let InstanceState::Running { address } = report.state else {
                    return None;
                };
                let process = report.process;
                let process_type = match self.wanted.get(&process) {
                    Some(wanted) => wanted.process_type.clone(),
                    // Still running although nobody wants it any more: it serves until it stops.
                    None if process == app.web_process() => "web".to_owned(),
                    None => return None,
                };
                Some((
                    process_type,
                    Endpoint {
                        app,
                        process,
                        instance: *instance,
                        index: report.index,
                        address,
                    },
                ))
            })
            .collect::<Vec<_>>();
        endpoints.sort_unstable_by_key(|(_, endpoint)| {
            (endpoint.process, endpoint.index, endpoint.instance)
        });
        endpoints
    }

    /// Whether an instance of another version of this index is running, as far as its cell has said.
    pub(super) fn older_serves(&self, wanted: &Wanted, process: ProcessId, index: u32) -> bool {
        let instances = self.of_app.get(&wanted.app).into_iter().flatten();
        let mut reports = instances.filter_map(|instance| Some(&self.reports.get(instance)?.1));
        reports.any(|report| {
            let same = report.process == process && report.index == index;
            let running = matches!(report.state, InstanceState::Running { .. });
            same && running && report.version != wanted.at(index).version
        })
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts {
            cells: self.cells.len(),
            awaited_cells: self.scheduler.awaited().count(),
            lost_cells: self.scheduler.brake().map_or(0, |brake| brake.lost),
            desired_instances: self
                .wanted
                .values()
                .map(|wanted| u64::from(wanted.instances))
                .sum(),
            ..Counts::default()
        };
        for (_, report) in self.reports.values() {
            match report.state {
                InstanceState::Starting => counts.starting += 1,
                InstanceState::Running { .. } => counts.running += 1,
                InstanceState::Stopping => counts.stopping += 1,
                InstanceState::Exited { .. } => counts.exited += 1,
            }
        }
        counts
    }
}
