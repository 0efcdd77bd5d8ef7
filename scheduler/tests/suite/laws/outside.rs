//! A world in which orders are carried out at once, and the things that can happen in it.

use std::collections::{BTreeMap, BTreeSet};

use model::ids::{CellId, InstanceId};
use model::instance::{Exit, ExitReason, InstanceState};
use proptest::prelude::*;
use scheduler::{
    Decision, DesiredProcess, DesiredTask, Event, IndexStatus, Scheduler, Time, UpdateStrategy,
};

use crate::world::*;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    CellUp {
        n: u128,
        zone: u8,
    },
    /// The host is lost, or only the connection to it.
    CellDown {
        n: u128,
        host_lost: bool,
        silent: usize,
    },
    Desire {
        n: u128,
        version: u128,
        instances: u32,
        max_in_flight: Option<u32>,
    },
    Undesire {
        n: u128,
    },
    Restart {
        n: u128,
        index: u32,
    },
    Task {
        n: u128,
    },
    TaskEnded {
        n: u128,
    },
    /// Pick the nth instance that can do it.
    Run {
        nth: usize,
    },
    Crash {
        nth: usize,
        ran_s: u64,
    },
    End {
        nth: usize,
    },
    Pass {
        seconds: i64,
    },
    Plan {
        budget: usize,
    },
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let n = 1..=4_u128;
    prop_oneof![
        4 => (1..=5_u128, 0..3_u8).prop_map(|(n, zone)| Op::CellUp { n, zone }),
        2 => (1..=5_u128, any::<bool>(), 0..3_usize)
            .prop_map(|(n, host_lost, silent)| Op::CellDown { n, host_lost, silent }),
        5 => (n.clone(), 1..=3_u128, 0..=5_u32, prop::option::of(0..=2_u32))
            .prop_map(|(n, version, instances, max_in_flight)| Op::Desire { n, version, instances, max_in_flight }),
        1 => n.clone().prop_map(|n| Op::Undesire { n }),
        1 => (n.clone(), 0..5_u32).prop_map(|(n, index)| Op::Restart { n, index }),
        1 => n.clone().prop_map(|n| Op::Task { n }),
        1 => n.prop_map(|n| Op::TaskEnded { n }),
        8 => (0..20_usize).prop_map(|nth| Op::Run { nth }),
        4 => (0..20_usize, prop_oneof![Just(1_u64), Just(400)]).prop_map(|(nth, ran_s)| Op::Crash { nth, ran_s }),
        4 => (0..20_usize).prop_map(|nth| Op::End { nth }),
        2 => prop_oneof![Just(1_i64), Just(30), Just(1000)].prop_map(|seconds| Op::Pass { seconds }),
        8 => prop_oneof![Just(0_usize), 1..6_usize, Just(usize::MAX)].prop_map(|budget| Op::Plan { budget }),
    ]
}

#[derive(Debug, Clone)]
struct Held {
    at: Started,
    state: InstanceState,
    since: Time,
}

#[derive(Debug, Clone)]
struct CountedCrash {
    instance: InstanceId,
    count: u32,
    at: Time,
    exit: Exit,
}

/// The world outside of the scheduler: orders are carried out at once, and told at once.
pub(crate) struct Outside {
    pub(crate) world: World,
    cells: BTreeMap<u128, u8>,
    held: BTreeMap<InstanceId, Held>,
    /// Every wish for a process in order, and whether it is still wanted.
    wishes: BTreeMap<u128, (Vec<DesiredProcess>, bool)>,
    crashes: BTreeMap<(u128, u32), CountedCrash>,
    tasks: BTreeMap<u128, (DesiredTask, Option<CellId>)>,
}

fn room(n: u128) -> model::protocol::cell::CellCapacity {
    capacity(300 + 200 * n as u32)
}

impl Outside {
    pub(crate) fn new() -> Self {
        Self {
            world: World {
                scheduler: Scheduler::new(3),
                now: Time(0),
            },
            cells: BTreeMap::new(),
            held: BTreeMap::new(),
            wishes: BTreeMap::new(),
            crashes: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }
    }

    fn is_connected(&self, at: CellId) -> bool {
        self.cells.keys().any(|&n| cell(n) == at)
    }

    fn nth(&self, nth: usize, can: impl Fn(&InstanceState) -> bool) -> Option<InstanceId> {
        let here = self
            .held
            .values()
            .filter(|held| self.is_connected(held.at.cell) && can(&held.state));
        let ids: Vec<InstanceId> = here.map(|held| held.at.instance).collect();
        (!ids.is_empty()).then(|| ids[nth % ids.len()])
    }

    fn set(&mut self, id: InstanceId, state: InstanceState) {
        let held = self.held.get_mut(&id).expect("held");
        held.since = self.world.now;
        held.state = state;
        let held = held.clone();
        if held.state.is_exited() {
            self.held.remove(&id);
        }
        self.world.say(held.at, held.state);
    }

    pub(crate) fn perform(&mut self, op: &Op) {
        // Time passes between any two things, so that nothing is of equal age.
        self.world.now.0 += 1;
        match *op {
            Op::CellUp { n, zone } => self.connect(n, zone),
            Op::CellDown {
                n,
                host_lost,
                silent,
            } => {
                if self.cells.remove(&n).is_some() {
                    self.tasks.retain(|_, task| task.1 != Some(cell(n)));
                    self.world.apply(Event::CellDown {
                        cell: cell(n),
                        silent,
                    });
                }
                if host_lost && !self.cells.contains_key(&n) {
                    self.held.retain(|_, held| held.at.cell != cell(n));
                }
            }
            Op::Desire {
                n,
                version: v,
                instances,
                max_in_flight,
            } => {
                let update = max_in_flight.map_or(UpdateStrategy::Recreate, |max| {
                    UpdateStrategy::Rolling { max_in_flight: max }
                });
                let limits = limits(40 * n as u32 + 10 * v as u32);
                let wish = DesiredProcess {
                    version: version(v),
                    limits,
                    update,
                    ..app(n, instances)
                };
                let history = self.wishes.entry(n).or_default();
                history.0.push(wish.clone());
                history.1 = true;
                self.world.desire(wish);
            }
            Op::Undesire { n } => {
                if let Some(history) = self.wishes.get_mut(&n) {
                    history.1 = false;
                }
                self.world.apply(Event::Undesire {
                    process: process(n),
                });
            }
            Op::Restart { n, index } => {
                self.world.apply(Event::RestartInstance {
                    process: process(n),
                    index,
                });
                self.plan(usize::MAX);
            }
            Op::Task { n } => {
                let wish = DesiredTask {
                    task: task(n),
                    limits: limits(50),
                    stack: None,
                };
                self.tasks.entry(n).or_insert((wish.clone(), None));
                self.world.apply(Event::Task(wish));
            }
            Op::TaskEnded { n } => {
                self.tasks.remove(&n);
                self.world.apply(Event::TaskEnded { task: task(n) });
            }
            Op::Run { nth } => {
                if let Some(id) = self.nth(nth, |state| *state == InstanceState::Starting) {
                    self.set(id, running());
                }
            }
            Op::Crash { nth, ran_s } => {
                if let Some(id) = self.nth(nth, |state| *state != InstanceState::Stopping) {
                    let exit = exit(ExitReason::Exited, ran_s);
                    self.set(id, InstanceState::Exited { exit: exit.clone() });
                    self.note_crash(id, &exit);
                }
            }
            Op::End { nth } => {
                if let Some(id) = self.nth(nth, |state| *state == InstanceState::Stopping) {
                    self.set(id, stopped());
                }
            }
            Op::Pass { seconds } => self.world.pass(seconds),
            Op::Plan { budget } => self.plan(budget),
        }
        let scheduler = &self.world.scheduler;
        self.crashes.retain(|&(n, index), crash| {
            let rows = scheduler.process(process(n));
            rows.iter()
                .any(|row| row.index == index && row.last_crash == Some(crash.instance))
        });
        let known: BTreeSet<_> = scheduler.processes().into_iter().collect();
        self.wishes.retain(|&n, _| known.contains(&process(n)));
    }

    fn connect(&mut self, n: u128, zone: u8) {
        let is_new = self.cells.insert(n, zone).is_none();
        self.world.cell_up(n, &zone.to_string(), room(n));
        let now = self.world.now;
        let mut returned = Vec::new();
        for held in self
            .held
            .values_mut()
            .filter(|held| is_new && held.at.cell == cell(n))
        {
            held.since = now;
            returned.push(held.clone());
        }
        for held in returned {
            self.world.say(held.at, held.state);
        }
    }

    fn note_crash(&mut self, id: InstanceId, exit: &Exit) {
        for &n in self.wishes.keys() {
            for row in self.world.scheduler.process(process(n)) {
                if row.last_crash == Some(id) {
                    let crash = CountedCrash {
                        instance: id,
                        count: row.crash_count,
                        at: self.world.now,
                        exit: exit.clone(),
                    };
                    self.crashes.insert((n, row.index), crash);
                }
            }
        }
    }

    fn plan(&mut self, budget: usize) {
        let decisions = self.world.scheduler.plan(self.world.now, budget).decisions;
        assert!(decisions.len() <= budget);
        for decision in &decisions {
            self.obey(decision);
        }
        let given: BTreeSet<CellId> = decisions
            .iter()
            .filter_map(started)
            .map(|start| start.cell)
            .collect();
        for view in self
            .world
            .scheduler
            .cells()
            .iter()
            .filter(|view| given.contains(&view.cell))
        {
            assert!(view.used.memory <= view.capacity.memory, "{view:?}");
            assert!(view.used.disk <= view.capacity.disk, "{view:?}");
            assert!(view.used.containers <= view.capacity.containers, "{view:?}");
        }
    }

    fn obey(&mut self, decision: &Decision) {
        match *decision {
            Decision::Start { .. } => {
                let at = started(decision).expect("a start");
                assert!(self.is_connected(at.cell));
                let held = Held {
                    at,
                    state: InstanceState::Starting,
                    since: self.world.now,
                };
                assert!(
                    self.held.insert(at.instance, held).is_none(),
                    "an id is used once"
                );
                self.world.say(at, InstanceState::Starting);
            }
            Decision::Stop { instance, cell, .. } => {
                assert_eq!(
                    self.held.get(&instance).map(|held| held.at.cell),
                    Some(cell)
                );
                self.set(instance, InstanceState::Stopping);
            }
            Decision::StartTask { task: id, cell } => {
                let entry = self
                    .tasks
                    .values_mut()
                    .find(|entry| entry.0.task == id)
                    .expect("a wanted task");
                assert_eq!(entry.1.replace(cell), None, "a task is placed once");
            }
            Decision::Blocked { .. } | Decision::TaskBlocked { .. } => {}
        }
    }

    /// What a new leader knows.
    pub(crate) fn rebuilt(&self) -> World {
        let mut world = World {
            scheduler: Scheduler::new(3),
            now: self.world.now,
        };
        for (&n, zone) in &self.cells {
            world.cell_up(n, &zone.to_string(), room(n));
        }
        for (&n, (history, is_wanted)) in &self.wishes {
            history.iter().for_each(|wish| world.desire(wish.clone()));
            if !is_wanted {
                world.apply(Event::Undesire {
                    process: process(n),
                });
            }
        }
        for (&(n, index), crash) in &self.crashes {
            let wish = self.wishes[&n].0.last().expect("a wish");
            world.apply(Event::CrashHistory {
                process: process(n),
                version: wish.version,
                index,
                instance: crash.instance,
                crash_count: crash.count,
                at: crash.at,
                exit: crash.exit.clone(),
            });
        }
        let mut reports: Vec<&Held> = self
            .held
            .values()
            .filter(|held| self.is_connected(held.at.cell))
            .collect();
        reports.sort_by_key(|held| (held.since, held.at.instance));
        for held in reports {
            world.now = held.since;
            world.say(held.at, held.state.clone());
        }
        world.now = self.world.now;
        for (wish, cell) in self.tasks.values() {
            world.apply(Event::Task(wish.clone()));
            if let Some(cell) = *cell {
                world.apply(Event::TaskPlaced {
                    task: wish.task,
                    cell,
                });
            }
        }
        world
    }

    /// Lets everything that is under way come to its end, until nothing is decided any more.
    pub(crate) fn settle(&mut self) {
        for n in 1..=5 {
            if !self.cells.contains_key(&n) {
                self.connect(n, 0);
            }
        }
        for _ in 0..200 {
            self.plan(usize::MAX);
            while let Some(id) = self.nth(0, |state| *state == InstanceState::Starting) {
                self.world.now.0 += 1;
                self.set(id, running());
            }
            while let Some(id) = self.nth(0, |state| *state == InstanceState::Stopping) {
                self.world.now.0 += 1;
                self.set(id, stopped());
            }
            match self.world.scheduler.next_wake() {
                Some(due) => self.world.now = self.world.now.max(due),
                None => return,
            }
        }
        panic!("it does not settle");
    }

    pub(crate) fn check_settled(&self) {
        let mut expected = 0;
        for (&n, (history, is_wanted)) in &self.wishes {
            assert!(is_wanted, "an undesired process is forgotten");
            let wish = history.last().expect("a wish");
            let rows = self.world.scheduler.process(process(n));
            assert_eq!(rows.len(), wish.instances as usize);
            let any_blocked = rows.iter().any(|row| row.blocked.is_some());
            for row in rows {
                match row.status {
                    IndexStatus::Running { .. } => {
                        expected += 1;
                        assert!(row.version == Some(wish.version) || any_blocked, "{row:?}");
                    }
                    IndexStatus::Unplaced => assert!(row.blocked.is_some(), "{row:?}"),
                    _ => panic!("{row:?}"),
                }
            }
        }
        assert_eq!(self.held.len(), expected, "nothing runs besides");
    }
}
