//! A scheduler with short names around it, for tests that say what happens step by step.

use std::net::SocketAddr;

use model::droplet::Stack;
use model::ids::{CellId, InstanceId, ProcessId, TaskId, VersionId};
use model::instance::{Exit, ExitReason, InstanceState};
use model::limits::{Limits, Megabytes};
use model::protocol::cell::CellCapacity;
use scheduler::{
    Decision, DesiredProcess, DesiredTask, Event, IndexView, Scheduler, StopReason, Time,
    UpdateStrategy,
};
use uuid::Uuid;

pub(crate) const SECOND: i64 = 1_000_000;

pub(crate) fn cell(n: u128) -> CellId {
    CellId::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn process(n: u128) -> ProcessId {
    ProcessId::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn version(n: u128) -> VersionId {
    VersionId::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn task(n: u128) -> TaskId {
    TaskId::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn stack() -> Stack {
    Stack("test".into())
}

pub(crate) fn limits(memory: u32) -> Limits {
    Limits {
        memory: Megabytes(memory),
        disk: Megabytes(10),
        pids: 100,
    }
}

pub(crate) fn capacity(memory: u32) -> CellCapacity {
    CellCapacity {
        memory: Megabytes(memory),
        disk: Megabytes(10_000),
        containers: 100,
    }
}

pub(crate) fn address() -> SocketAddr {
    "10.0.0.1:8080".parse().expect("an address")
}

pub(crate) fn exit(reason: ExitReason, ran_s: u64) -> Exit {
    Exit {
        reason,
        status: Some(1),
        ran_ms: ran_s * 1000,
        last_lines: vec![],
    }
}

pub(crate) fn crash() -> InstanceState {
    InstanceState::Exited {
        exit: exit(ExitReason::Exited, 1),
    }
}

pub(crate) fn stopped() -> InstanceState {
    InstanceState::Exited {
        exit: exit(ExitReason::Stopped, 1),
    }
}

pub(crate) fn running() -> InstanceState {
    InstanceState::Running { address: address() }
}

/// An app of ten tiny instances that stop at once for a new version, until told otherwise.
pub(crate) fn app(n: u128, instances: u32) -> DesiredProcess {
    DesiredProcess {
        process: process(n),
        version: version(1),
        instances,
        limits: limits(100),
        stack: stack(),
        update: UpdateStrategy::Recreate,
        older: None,
    }
}

/// An instance as a plan placed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Started {
    pub(crate) instance: InstanceId,
    pub(crate) process: ProcessId,
    pub(crate) version: VersionId,
    pub(crate) index: u32,
    pub(crate) cell: CellId,
}

pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Time,
}

impl World {
    /// Empty cells, numbered from 1, all in one zone.
    pub(crate) fn with_cells(count: u128, memory: u32) -> Self {
        let mut world = Self {
            scheduler: Scheduler::new(1),
            now: Time(0),
        };
        for n in 1..=count {
            world.cell_up(n, "z1", capacity(memory));
        }
        world
    }

    pub(crate) fn cell_up(&mut self, n: u128, zone: &str, capacity: CellCapacity) {
        self.apply(Event::CellUp {
            cell: cell(n),
            zone: zone.into(),
            stack: stack(),
            capacity,
        });
    }

    pub(crate) fn apply(&mut self, event: Event) {
        self.scheduler.apply(self.now, event);
    }

    pub(crate) fn desire(&mut self, wish: DesiredProcess) {
        self.apply(Event::Desire(wish));
    }

    pub(crate) fn want_task(&mut self, n: u128, memory: u32) {
        self.apply(Event::Task(DesiredTask {
            task: task(n),
            limits: limits(memory),
            stack: None,
        }));
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now.0 += seconds * SECOND;
    }

    pub(crate) fn plan(&mut self) -> Vec<Decision> {
        self.scheduler.plan(self.now, usize::MAX).decisions
    }

    /// Plans, and expects nothing but starts.
    pub(crate) fn starts(&mut self) -> Vec<Started> {
        let decisions = self.plan();
        decisions
            .iter()
            .map(|decision| started(decision).unwrap_or_else(|| panic!("{decision:?}")))
            .collect()
    }

    /// Plans, and expects nothing but stops.
    pub(crate) fn stops(&mut self) -> Vec<(InstanceId, StopReason)> {
        let decisions = self.plan();
        decisions
            .iter()
            .map(|decision| stop(decision).unwrap_or_else(|| panic!("{decision:?}")))
            .collect()
    }

    /// Plans, takes the stops as given, and returns what starts.
    pub(crate) fn only_start(&mut self) -> Started {
        let starts = self.starts();
        assert_eq!(starts.len(), 1, "{starts:?}");
        starts[0]
    }

    pub(crate) fn say(&mut self, of: Started, state: InstanceState) {
        let Started {
            instance,
            process,
            version,
            index,
            cell,
        } = of;
        self.apply(Event::Instance {
            cell,
            process,
            version,
            index,
            instance,
            state,
        });
    }

    /// Starts everything that can start, and lets it run.
    pub(crate) fn run_all(&mut self) -> Vec<Started> {
        let starts = self.starts();
        for &start in &starts {
            self.say(start, running());
        }
        assert_eq!(self.plan(), []);
        starts
    }

    pub(crate) fn row(&self, n: u128, index: u32) -> IndexView {
        let rows = self.scheduler.process(process(n));
        rows.into_iter()
            .find(|row| row.index == index)
            .expect("the index is shown")
    }
}

pub(crate) fn started(decision: &Decision) -> Option<Started> {
    match *decision {
        Decision::Start {
            instance,
            process,
            version,
            index,
            cell,
        } => Some(Started {
            instance,
            process,
            version,
            index,
            cell,
        }),
        _ => None,
    }
}

pub(crate) fn stop(decision: &Decision) -> Option<(InstanceId, StopReason)> {
    match *decision {
        Decision::Stop {
            instance, reason, ..
        } => Some((instance, reason)),
        _ => None,
    }
}
