//! The driver of the scheduler, in a world on virtual time.

use std::collections::{BTreeMap, BTreeSet};

use model::ids::{CellId, InstanceId, ProcessId, TaskId};
use model::instance::InstanceState;
use scheduler::{
    Decision, DesiredProcess, DesiredTask, Event, Scheduler, StopReason, Time, UpdateStrategy,
};

use super::cell::{Cell, Held};
use super::net::{Chance, Mail, Net, Order, Said};
use crate::world::{SECOND, capacity, cell, started};

const TTL: i64 = 15 * SECOND;
/// Longer than the longest back-off that the faults can have led to.
const TIME_TO_COME_RIGHT: i64 = 900 * SECOND;

/// How long crashes and messages that were under way when the faults ended still come, and what was lost stays unknown.
const LAST_BLOWS: i64 = 25 * SECOND;

/// What the server knows of a cell besides the scheduler.
#[derive(Default, Clone)]
pub(super) struct Presence {
    session: u64,
    heard: Time,
    is_up: bool,
    has_reported: bool,
}

pub(crate) struct World {
    pub(super) now: Time,
    pub(super) chance: Chance,
    pub(super) net: Net,
    pub(super) cells: Vec<Cell>,
    pub(super) faults_end: Time,
    pub(super) processes: u64,
    pub(super) most_instances: u64,

    // The server.
    pub(super) scheduler: Scheduler,
    pub(super) leads_since: Time,
    /// Indices that were wished for when this leader began, while it waits for cells.
    pub(super) inherited: BTreeSet<(ProcessId, u32)>,
    /// Where the last instance of an index was placed by this leader.
    pub(super) places: BTreeMap<(ProcessId, u32), (CellId, InstanceId)>,
    pub(super) presence: Vec<Presence>,
    // The database.
    pub(super) wishes: BTreeMap<ProcessId, DesiredProcess>,
    pub(super) crashes: BTreeMap<(ProcessId, u32), Event>,
    pub(super) tasks: BTreeMap<TaskId, (DesiredTask, Option<CellId>)>,
    pub(super) tasks_placed: BTreeSet<TaskId>,
    pub(super) tasks_made: u128,
    /// Instances that were ever ordered to stop.
    pub(super) stopped: BTreeSet<InstanceId>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let is_large = seed % 250 == 249;
        let count = if is_large {
            100 + chance.below(200)
        } else {
            1 + chance.below(8)
        } as usize;
        let processes = if is_large { 40 } else { 1 + chance.below(6) };
        // Some worlds are too small for all that is wished.
        let memory = if chance.percent(20) { 600 } else { 8000 };
        let length = if is_large {
            60
        } else {
            60 + chance.between(0, 180)
        };
        let mut world = Self {
            now: Time(0),
            cells: (0..count).map(|number| Cell::new(number, memory)).collect(),
            net: Net::faulty(),
            faults_end: Time(length * SECOND),
            processes,
            most_instances: if is_large { 30 } else { 8 },
            scheduler: Scheduler::new(chance.next()),
            leads_since: Time(0),
            inherited: BTreeSet::new(),
            places: BTreeMap::new(),
            presence: vec![Presence::default(); count],
            wishes: BTreeMap::new(),
            crashes: BTreeMap::new(),
            tasks: BTreeMap::new(),
            tasks_placed: BTreeSet::new(),
            tasks_made: 0,
            stopped: BTreeSet::new(),
            chance,
        };
        for number in 0..count {
            let first = Time(world.chance.between(0, 10 * SECOND));
            world.net.at(first, Mail::Beat { cell: number });
        }
        world.await_cells();
        world.net.at(Time(1), Mail::Fault);
        world.net.at(Time(2), Mail::Wish);
        world.net.at(world.faults_end, Mail::Look);
        world
    }

    pub(crate) fn run(mut self) -> Result<(), String> {
        let mut right_since = None;
        loop {
            if let Some(wake) = self.scheduler.next_wake()
                && wake <= self.net.due()
            {
                self.now = self.now.max(wake);
                self.plan()?;
                continue;
            }
            self.now = self.now.max(self.net.due());
            match self.net.take() {
                Mail::Look if self.net.is_faulty => {
                    self.end_faults();
                    self.net.at(Time(self.now.0 + LAST_BLOWS), Mail::Look);
                }
                Mail::Look => {
                    match (self.wrong(), right_since) {
                        (None, Some(since)) if self.now.0 - since >= 30 * SECOND => return Ok(()),
                        (None, None) => right_since = Some(self.now.0),
                        (Some(why), Some(_)) => {
                            return Err(format!("it was right and then: {why}"));
                        }
                        (Some(why), None)
                            if self.now.0 > self.faults_end.0 + TIME_TO_COME_RIGHT =>
                        {
                            return Err(why);
                        }
                        _ => {}
                    }
                    self.net.at(Time(self.now.0 + 5 * SECOND), Mail::Look);
                }
                mail => self.receive(mail)?,
            }
        }
    }

    fn receive(&mut self, mail: Mail) -> Result<(), String> {
        let Self {
            now,
            chance,
            net,
            cells,
            ..
        } = self;
        match mail {
            Mail::Order {
                cell,
                session,
                order,
            } => cells[cell].obey(*now, chance, net, session, order)?,
            Mail::Beat { cell } => cells[cell].beat(*now, chance, net),
            Mail::Life {
                cell,
                instance,
                life,
            } => cells[cell].life(*now, chance, net, instance, life),
            Mail::Say {
                cell,
                session,
                said,
            } => self.hear(cell, session, said),
            Mail::Lease { cell: number } => {
                let presence = &mut self.presence[number];
                let is_awaited = !presence.has_reported;
                let heard = presence.heard.max(self.leads_since);
                if (presence.is_up || is_awaited) && self.now.0 - heard.0 >= TTL {
                    presence.is_up = false;
                    self.tasks
                        .retain(|_, known| known.1 != Some(cell(number as u128)));
                    self.apply(Event::CellDown {
                        cell: cell(number as u128),
                        silent: 0,
                    });
                }
            }
            Mail::TaskEnds { task } => {
                self.tasks.remove(&task);
                self.apply(Event::TaskEnded { task });
            }
            Mail::Fault => self.fault(),
            Mail::Wish => self.wish(),
            Mail::Look => {}
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, event: Event) {
        self.scheduler.apply(self.now, event);
    }

    // The server.

    /// A new leader holds back what is older than it until every cell has reported or is given up.
    fn await_cells(&mut self) {
        let desired = self.wishes.values();
        self.inherited = desired
            .flat_map(|wish| (0..wish.instances).map(|index| (wish.process, index)))
            .collect();
        self.places.clear();
        let cells = (0..self.cells.len()).map(|number| cell(number as u128));
        self.apply(Event::Inherit {
            cells: cells.collect(),
        });
        for number in 0..self.cells.len() {
            let given_up = Time(self.now.0 + TTL);
            self.net.at(given_up, Mail::Lease { cell: number });
        }
    }

    /// What must not be decided while cells may be well that nobody hears.
    fn check_caution(&mut self, decision: &Decision) -> Result<(), String> {
        let is_settled = self.scheduler.awaited().next().is_none();
        match *decision {
            Decision::Stop { instance, .. } if is_settled => {
                self.places.retain(|_, place| place.1 != instance);
                Ok(())
            }
            Decision::Stop { instance, .. } => Err(format!(
                "{instance} was stopped before all cells had reported"
            )),
            Decision::Start {
                process,
                index,
                cell,
                instance,
                ..
            } => {
                let place = self.places.insert((process, index), (cell, instance));
                if !is_settled && self.inherited.contains(&(process, index)) {
                    return Err(format!(
                        "index {index} was started before all cells had reported"
                    ));
                }
                let was_lost = place.is_some_and(|place| !self.presence[number(place.0)].is_up);
                let alone = self.wishes[&process].update == UpdateStrategy::Recreate;
                if was_lost && alone && self.scheduler.brake().is_some() {
                    return Err(format!(
                        "index {index} was replaced although the brake is on"
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn order(&mut self, number: usize, order: Order) {
        let session = self.presence[number].session;
        self.net.send(
            self.now,
            &mut self.chance,
            Mail::Order {
                cell: number,
                session,
                order,
            },
        );
    }

    fn hear(&mut self, number: usize, session: u64, said: Said) {
        let presence = &mut self.presence[number];
        let is_current = match said {
            Said::Report(_) => session > presence.session,
            Said::Instance(_) => session == presence.session && presence.is_up,
        };
        if !is_current {
            return;
        }
        let is_first = !std::mem::replace(&mut presence.has_reported, true);
        (presence.session, presence.heard, presence.is_up) = (session, self.now, true);
        self.net
            .at(Time(self.now.0 + TTL), Mail::Lease { cell: number });
        match said {
            Said::Report(all) => self.hear_report(number, all, is_first),
            Said::Instance(held) => self.hear_instance(number, self.now, held),
        }
    }

    fn hear_report(&mut self, number: usize, all: Vec<Held>, is_first: bool) {
        let id = cell(number as u128);
        let capacity = capacity(self.cells[number].memory);
        let stack = crate::world::stack();
        self.apply(Event::CellUp {
            cell: id,
            zone: (number % 3).to_string(),
            stack,
            capacity,
        });
        let listed: BTreeSet<_> = all.iter().map(|held| held.at.instance).collect();
        for instance in self.scheduler.instances_on(id) {
            if !listed.contains(&instance) {
                self.places.retain(|_, place| place.1 != instance);
                self.apply(Event::InstanceGone { cell: id, instance });
            }
        }
        for held in all {
            let time = if is_first { held.since } else { self.now };
            self.hear_instance(number, time, held);
        }
    }

    fn hear_instance(&mut self, number: usize, time: Time, held: Held) {
        let at = held.at;
        self.scheduler.apply(
            time,
            Event::Instance {
                cell: at.cell,
                process: at.process,
                version: at.version,
                index: at.index,
                instance: at.instance,
                state: held.state.clone(),
            },
        );
        let InstanceState::Exited { exit } = held.state else {
            // Of two that an index has, either may be the last.
            self.places
                .entry((at.process, at.index))
                .and_modify(|place| *place = (at.cell, at.instance));
            return;
        };
        self.places.retain(|_, place| place.1 != at.instance);
        self.order(number, Order::Forget(at.instance));
        let rows = self.scheduler.process(at.process);
        if let Some(row) = rows.iter().find(|row| row.last_crash == Some(at.instance)) {
            let history = Event::CrashHistory {
                process: at.process,
                version: at.version,
                index: row.index,
                instance: at.instance,
                crash_count: row.crash_count,
                at: time,
                exit,
            };
            self.crashes.insert((at.process, row.index), history);
        }
    }

    fn plan(&mut self) -> Result<(), String> {
        let budget = 1 + self.chance.below(40) as usize;
        let decisions = self.scheduler.plan(self.now, budget).decisions;
        if decisions.len() > budget {
            return Err(format!("{} decisions of {budget}", decisions.len()));
        }
        for decision in decisions {
            self.check_caution(&decision)?;
            match decision {
                Decision::Start { process, .. } => {
                    let at = started(&decision).expect("a start");
                    let wish = self
                        .wishes
                        .get(&process)
                        .filter(|wish| at.index < wish.instances);
                    let wish = wish.ok_or_else(|| format!("nobody wants {at:?}"))?;
                    let order = Order::Run(at, wish.limits.memory.0);
                    self.order(number(at.cell), order);
                }
                Decision::Stop {
                    instance,
                    cell,
                    reason,
                } => {
                    // A stop that was given stands, also where the wish has come back since.
                    let is_first = self.stopped.insert(instance);
                    if is_first
                        && reason == StopReason::NotDesired
                        && self.is_wanted(cell, instance)
                    {
                        return Err(format!("{instance} is wanted and was stopped"));
                    }
                    self.order(number(cell), Order::Stop(instance));
                }
                Decision::StartTask { task, cell } => {
                    if !self.tasks_placed.insert(task) {
                        return Err(format!("task {task} was placed twice"));
                    }
                    if let Some(known) = self.tasks.get_mut(&task) {
                        known.1 = Some(cell);
                    }
                    let end = Time(self.now.0 + self.chance.between(SECOND, 20 * SECOND));
                    self.net.at(end, Mail::TaskEnds { task });
                }
                Decision::Blocked { .. } | Decision::TaskBlocked { .. } => {}
            }
        }
        Ok(())
    }

    fn is_wanted(&self, on: CellId, instance: InstanceId) -> bool {
        self.cells[number(on)]
            .held
            .get(&instance)
            .is_some_and(|held| {
                self.wishes
                    .get(&held.at.process)
                    .is_some_and(|wish| held.at.index < wish.instances)
            })
    }

    pub(super) fn new_leader(&mut self) {
        self.net.cut();
        self.scheduler = Scheduler::new(self.chance.next());
        self.leads_since = self.now;
        self.presence.fill(Presence::default());
        for wish in self.wishes.values() {
            self.scheduler.apply(self.now, Event::Desire(wish.clone()));
        }
        self.await_cells();
        for history in self.crashes.values() {
            self.scheduler.apply(self.now, history.clone());
        }
        for (task, (wish, cell)) in &self.tasks {
            self.scheduler.apply(self.now, Event::Task(wish.clone()));
            if let Some(cell) = *cell {
                self.scheduler
                    .apply(self.now, Event::TaskPlaced { task: *task, cell });
            }
        }
    }
}

fn number(id: CellId) -> usize {
    usize::try_from(id.as_uuid().as_u128()).expect("a cell of this world")
}
