//! A simulated cell: it keeps a ledger, obeys epochs, and speaks the protocol of real ones.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use model::droplet::Stack;
use model::ids::{CellId, Incarnation, InstanceId, TaskId};
use model::instance::{Exit, ExitReason, InstanceReport, InstanceState};
use model::limits::Megabytes;
use model::protocol::cell::{
    CellCapacity, CellHello, CellMessage, HEARTBEAT, InstanceSpec, Isolation, Order, OrderBody,
};
use model::task::{StagingFailure, TaskOutcome, TaskReport, TaskState};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::chance::Chance;

pub(super) const STACK: &str = "simulated";
const PIPE_BYTES: usize = 4 << 20;

pub(super) struct Cell {
    pub(super) id: CellId,
    pub(super) incarnation: Incarnation,
    epoch_seen: u64,
    /// Whether its agent runs.
    pub(super) is_up: bool,
    /// Whether the network carries what it says and hears.
    pub(super) is_linked: bool,
    /// Whether messages are lost, late and doubled, and instances crash.
    pub(super) is_faulty: bool,
    link: Option<Link>,
    connects_at: Instant,
    began: Instant,
    pub(super) held: BTreeMap<InstanceId, InstanceReport>,
    /// What is to happen to an instance, and when.
    fates: BTreeMap<InstanceId, (Instant, Fate)>,
    tasks: BTreeMap<TaskId, (Instant, TaskState)>,
    /// Not told yet.
    changed: Vec<InstanceId>,
    changed_tasks: Vec<TaskId>,
    /// What a test may look at.
    pub(super) seen: Seen,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) orders: Vec<(Instant, OrderBody)>,
    pub(super) ran: Vec<InstanceSpec>,
    pub(super) staged: Vec<TaskId>,
    /// Instances that crashed here.
    pub(super) crashed: Vec<InstanceReport>,
    pub(super) sessions: u32,
    pub(super) lost_disks: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Ready,
    Crash,
    Stopped,
}

struct Link {
    frames: Framed<DuplexStream, LengthDelimitedCodec>,
    inbox: Vec<(Instant, Order)>,
    outbox: Vec<(Instant, CellMessage)>,
    last_seq: u64,
    beats_at: Instant,
    /// A connection that lost something breaks soon after.
    breaks_at: Option<Instant>,
}

impl Cell {
    pub(super) fn new() -> Self {
        Self {
            id: CellId::random(),
            incarnation: Incarnation::random(),
            epoch_seen: 0,
            is_up: true,
            is_linked: true,
            is_faulty: false,
            link: None,
            connects_at: Instant::now(),
            began: Instant::now(),
            held: BTreeMap::new(),
            fates: BTreeMap::new(),
            tasks: BTreeMap::new(),
            changed: Vec::new(),
            changed_tasks: Vec::new(),
            seen: Seen::default(),
        }
    }

    /// The agent is killed; what runs goes on.
    pub(super) fn kill(&mut self) {
        (self.is_up, self.link) = (false, None);
    }

    /// The host is started anew: nothing of what ran is left but the ledger.
    pub(super) fn reboot(&mut self) {
        self.link = None;
        self.incarnation = Incarnation::random();
        self.fates.clear();
        let since_us = self.now_us();
        for held in self.held.values_mut() {
            if !held.state.is_exited() {
                let message = "the host was restarted".to_owned();
                held.state = ended(ExitReason::Lost { message });
                held.since_us = since_us;
            }
        }
        for (_, state) in self.tasks.values_mut() {
            if !matches!(state, TaskState::Done { .. }) {
                *state = lost_task();
            }
        }
    }

    /// The disk is lost: another cell stands in its place.
    pub(super) fn lose_disk(&mut self) {
        self.link = None;
        (self.id, self.incarnation) = (CellId::random(), Incarnation::random());
        self.epoch_seen = 0;
        self.seen.lost_disks += 1;
        self.held.clear();
        self.fates.clear();
        self.tasks.clear();
    }

    pub(super) fn break_link(&mut self) {
        self.link = None;
    }

    /// Drops what the server sends, without a sign.
    pub(super) fn lose_next_orders(&mut self) {
        if let Some(link) = &mut self.link {
            link.last_seq = u64::MAX;
        }
    }

    pub(super) fn decide(&mut self, instance: InstanceId, after: Duration, fate: Fate) {
        self.fates.insert(instance, (Instant::now() + after, fate));
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &InstanceReport> {
        self.held
            .values()
            .filter(|held| matches!(held.state, InstanceState::Running { .. }))
    }

    fn now_us(&self) -> i64 {
        super::world::AT.after(self.began.elapsed()).0
    }

    /// Opens a session where there is none; returns the server's end of it.
    pub(super) fn connect(&mut self, epoch: u64) -> Option<DuplexStream> {
        let wants = self.is_up && self.is_linked && self.link.is_none();
        if !wants || Instant::now() < self.connects_at || epoch < self.epoch_seen {
            return None;
        }
        // The full report tells all.
        (self.changed, self.changed_tasks) = (vec![], vec![]);
        // On disk before the full report.
        self.epoch_seen = epoch;
        self.seen.sessions += 1;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let codec = LengthDelimitedCodec::builder()
            .length_field_length(4)
            .max_frame_length(16 << 20)
            .new_codec();
        let mut link = Link {
            frames: Framed::new(ours, codec),
            inbox: Vec::new(),
            outbox: Vec::new(),
            last_seq: 0,
            beats_at: Instant::now() + HEARTBEAT,
            breaks_at: None,
        };
        let tasks = self.tasks.iter().map(|(task, (_, state))| TaskReport {
            task: *task,
            state: state.clone(),
        });
        let report = CellMessage::Report {
            instances: self.held.values().cloned().collect(),
            tasks: tasks.collect(),
            strangers: vec![],
        };
        if link.write(&CellMessage::Hello(self.hello())) && link.write(&report) {
            self.link = Some(link);
        }
        Some(theirs)
    }

    fn hello(&self) -> CellHello {
        CellHello {
            cell: self.id,
            name: format!("cell-{}", self.id),
            incarnation: self.incarnation,
            epoch_seen: self.epoch_seen,
            zone: "z1".into(),
            stack: Stack(STACK.into()),
            capacity: CellCapacity {
                memory: Megabytes(20_000),
                disk: Megabytes(100_000),
                containers: 200,
            },
            isolation: Isolation::Container,
            disk_limit: model::protocol::cell::DiskLimit::Hard,
            min_free_disk: Megabytes(0),
        }
    }

    /// Lives up to now: instances and builds go on, messages come and go.
    pub(super) fn step(&mut self, chance: &mut Chance) {
        let now = Instant::now();
        if self.is_up {
            self.live(now, chance);
        }
        if !self.is_linked {
            return;
        }
        let Some(mut link) = self.link.take() else {
            return;
        };
        let is_whole = link.read(now, self.is_faulty.then_some(&mut *chance));
        link.inbox.sort_by_key(|(due, order)| (*due, order.seq));
        while link.inbox.first().is_some_and(|(due, _)| *due <= now) {
            let (_, order) = link.inbox.remove(0);
            let seq = order.seq;
            let answer = if link.last_seq == u64::MAX {
                continue;
            } else if seq <= link.last_seq {
                CellMessage::Ack { seq }
            } else if seq > link.last_seq + 1 {
                // Something is missing before it.
                link.breaks_at = Some(now);
                break;
            } else {
                link.last_seq = seq;
                match self.obey(now, order, chance) {
                    Ok(()) => CellMessage::Ack { seq },
                    Err(message) => CellMessage::Refused { seq, message },
                }
            };
            link.outbox.push((now, answer));
        }
        let news = self.news();
        let is_faulty = self.is_faulty;
        link.say(now, news, is_faulty.then_some(&mut *chance));
        let is_whole = is_whole && link.flush(now);
        if is_whole && link.breaks_at.is_none_or(|breaks| breaks > now) {
            self.link = Some(link);
        } else {
            self.connects_at = now + chance.within(100, 1500);
        }
    }

    fn obey(&mut self, now: Instant, order: Order, chance: &mut Chance) -> Result<(), String> {
        if order.epoch < self.epoch_seen {
            return Err("that epoch is over".into());
        }
        self.epoch_seen = order.epoch;
        self.seen.orders.push((now, order.body.clone()));
        match order.body {
            OrderBody::Run(spec) => {
                if self.held.contains_key(&spec.instance) {
                    return Ok(());
                }
                let report = InstanceReport {
                    instance: spec.instance,
                    app: spec.app,
                    process: spec.process,
                    version: spec.version,
                    index: spec.index,
                    state: InstanceState::Starting,
                    since_us: self.now_us(),
                };
                self.changed.push(spec.instance);
                self.held.insert(spec.instance, report);
                let crashes = self.is_faulty && chance.percent(15);
                let fate = if crashes { Fate::Crash } else { Fate::Ready };
                self.decide(spec.instance, chance.within(300, 3000), fate);
                self.seen.ran.push(*spec);
            }
            OrderBody::Stop { instance } => {
                let is_alive = self
                    .held
                    .get(&instance)
                    .is_some_and(|held| !held.state.is_exited());
                if is_alive {
                    self.set(instance, InstanceState::Stopping);
                    self.decide(instance, chance.within(100, 2000), Fate::Stopped);
                }
            }
            OrderBody::ForgetInstance { instance } => {
                let is_over = |held: &InstanceReport| held.state.is_exited();
                if self.held.get(&instance).is_some_and(|held| !is_over(held)) {
                    return Err("it has not ended".into());
                }
                self.held.remove(&instance);
            }
            OrderBody::Stage(spec) => {
                if !self.tasks.contains_key(&spec.task) {
                    self.seen.staged.push(spec.task);
                    let ends = now + chance.within(500, 8000);
                    self.tasks.insert(spec.task, (ends, TaskState::Started));
                    self.changed_tasks.push(spec.task);
                }
            }
            OrderBody::CancelTask { task } => {
                if let Some((ends, _)) = self.tasks.get_mut(&task) {
                    *ends = now;
                }
            }
            OrderBody::ForgetTask { task } => {
                self.tasks.remove(&task);
            }
            OrderBody::Reap { .. } | OrderBody::OpenStream { .. } | OrderBody::RunTask(_) => {}
        }
        Ok(())
    }

    /// What has changed since it was told last, the newest state of each.
    fn news(&mut self) -> Vec<CellMessage> {
        let instances = std::mem::take(&mut self.changed);
        let tasks = std::mem::take(&mut self.changed_tasks);
        let instances = instances
            .iter()
            .filter_map(|instance| Some(CellMessage::Instance(self.held.get(instance)?.clone())));
        let tasks = tasks.iter().filter_map(|task| {
            let (_, state) = self.tasks.get(task)?;
            Some(CellMessage::Task(TaskReport {
                task: *task,
                state: state.clone(),
            }))
        });
        instances.chain(tasks).collect()
    }

    fn set(&mut self, instance: InstanceId, state: InstanceState) {
        let since_us = self.now_us();
        if let Some(held) = self.held.get_mut(&instance) {
            (held.state, held.since_us) = (state, since_us);
            self.changed.push(instance);
        }
    }

    fn live(&mut self, now: Instant, chance: &mut Chance) {
        let due = self.fates.iter().filter(|(_, (at, _))| *at <= now);
        let due = due.map(|(id, (_, fate))| (*id, *fate)).collect::<Vec<_>>();
        for (instance, fate) in due {
            self.fates.remove(&instance);
            let Some(held) = self.held.get(&instance).cloned() else {
                continue;
            };
            match (fate, &held.state) {
                (Fate::Ready, InstanceState::Starting) => {
                    let address = "10.9.0.2:8080".parse().expect("an address");
                    self.set(instance, InstanceState::Running { address });
                    if self.is_faulty && chance.percent(25) {
                        self.decide(instance, chance.within(500, 20_000), Fate::Crash);
                    }
                }
                (Fate::Crash, InstanceState::Starting | InstanceState::Running { .. }) => {
                    self.set(instance, ended(ExitReason::Exited));
                    self.seen.crashed.push(held);
                }
                (Fate::Stopped, InstanceState::Stopping) => {
                    self.set(instance, ended(ExitReason::Stopped));
                }
                _ => {}
            }
        }
        for (task, (ends, state)) in &mut self.tasks {
            if *ends <= now && *state == TaskState::Started {
                *state = lost_task();
                self.changed_tasks.push(*task);
            }
        }
    }
}

fn lost_task() -> TaskState {
    TaskState::Done {
        outcome: TaskOutcome::Failed {
            failure: StagingFailure::CellLost,
        },
    }
}

fn ended(reason: ExitReason) -> InstanceState {
    InstanceState::Exited {
        exit: Exit {
            reason,
            status: Some(1),
            ran_ms: 1000,
            last_lines: vec![],
        },
    }
}

impl Link {
    /// Takes what has arrived, each with the moment at which the cell will see it. Says whether the connection is whole.
    fn read(&mut self, now: Instant, mut faults: Option<&mut Chance>) -> bool {
        loop {
            let frame = match self.frames.next().now_or_never() {
                None => return true,
                Some(Some(Ok(frame))) => frame,
                Some(_) => return false,
            };
            let order: Order = serde_json::from_slice(&frame).expect("an order");
            for due in self.fate(now, faults.as_deref_mut()) {
                self.inbox.push((due, order.clone()));
            }
        }
    }

    /// When a message arrives: never, once, or twice. What a connection loses, breaks it.
    fn fate(&mut self, now: Instant, faults: Option<&mut Chance>) -> Vec<Instant> {
        let Some(chance) = faults else {
            return vec![now];
        };
        let late = |chance: &mut Chance| {
            let slow = chance.percent(20);
            now + if slow {
                chance.within(50, 3000)
            } else {
                Duration::ZERO
            }
        };
        match chance.below(20) {
            0 => {
                let breaks = now + chance.within(1, 3000);
                self.breaks_at = Some(self.breaks_at.map_or(breaks, |at| at.min(breaks)));
                vec![]
            }
            1 => vec![late(chance), late(chance)],
            _ => vec![late(chance)],
        }
    }

    fn say(&mut self, now: Instant, news: Vec<CellMessage>, mut faults: Option<&mut Chance>) {
        for message in news {
            for due in self.fate(now, faults.as_deref_mut()) {
                self.outbox.push((due, message.clone()));
            }
        }
        if self.beats_at <= now {
            self.beats_at = now + HEARTBEAT;
            let beat = CellMessage::Heartbeat {
                usage: vec![],
                free_disk: Megabytes(1000),
            };
            self.outbox.push((now, beat));
        }
    }

    fn flush(&mut self, now: Instant) -> bool {
        self.outbox.sort_by_key(|(due, _)| *due);
        while self.outbox.first().is_some_and(|(due, _)| *due <= now) {
            let (_, message) = self.outbox.remove(0);
            if !self.write(&message) {
                return false;
            }
        }
        true
    }

    fn write(&mut self, message: &CellMessage) -> bool {
        let json = serde_json::to_vec(message).expect("messages are plain JSON");
        matches!(
            self.frames.send(Bytes::from(json)).now_or_never(),
            Some(Ok(()))
        )
    }
}
