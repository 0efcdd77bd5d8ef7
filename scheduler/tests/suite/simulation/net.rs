//! Chance, and messages with the time at which they arrive.

use std::collections::BTreeMap;

use model::ids::{InstanceId, TaskId};
use scheduler::Time;

use super::cell::Held;
use crate::world::Started;

/// SplitMix64.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low) as u64) as i64
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone)]
pub(crate) enum Order {
    Run(Started, u32),
    Stop(InstanceId),
    Forget(InstanceId),
}

#[derive(Clone)]
pub(crate) enum Said {
    Report(Vec<Held>),
    Instance(Held),
}

#[derive(Clone, Copy)]
pub(crate) enum Life {
    BecomesReady,
    Crashes,
    Ends,
}

#[derive(Clone)]
pub(crate) enum Mail {
    Order {
        cell: usize,
        session: u64,
        order: Order,
    },
    Say {
        cell: usize,
        session: u64,
        said: Said,
    },
    /// Cell's own clock: a new session.
    Beat {
        cell: usize,
    },
    Life {
        cell: usize,
        instance: InstanceId,
        life: Life,
    },
    /// The driver looks whether a cell was heard of.
    Lease {
        cell: usize,
    },
    TaskEnds {
        task: TaskId,
    },
    Fault,
    Wish,
    Look,
}

impl Mail {
    fn is_on_the_wire(&self) -> bool {
        matches!(self, Self::Order { .. } | Self::Say { .. })
    }
}

#[derive(Default)]
pub(crate) struct Net {
    queue: BTreeMap<(Time, u64), Mail>,
    sent: u64,
    pub(crate) is_faulty: bool,
}

impl Net {
    pub(crate) fn faulty() -> Self {
        Self {
            is_faulty: true,
            ..Self::default()
        }
    }

    pub(crate) fn at(&mut self, time: Time, mail: Mail) {
        self.sent += 1;
        self.queue.insert((time, self.sent), mail);
    }

    /// Over the wire: delayed by chance, so that messages overtake each other.
    pub(crate) fn send(&mut self, now: Time, chance: &mut Chance, mail: Mail) {
        let copies = match chance.below(20) {
            0 | 1 if self.is_faulty => 0,
            2 | 3 if self.is_faulty => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let slow = self.is_faulty && chance.percent(20);
            let delay = if slow {
                chance.between(50_000, 4_000_000)
            } else {
                chance.between(500, 50_000)
            };
            self.at(Time(now.0 + delay), mail.clone());
        }
    }

    pub(crate) fn due(&self) -> Time {
        self.queue.keys().next().expect("cells always beat").0
    }

    pub(crate) fn take(&mut self) -> Mail {
        self.queue.pop_first().expect("cells always beat").1
    }

    /// The server died and its connections with it.
    pub(crate) fn cut(&mut self) {
        self.queue.retain(|_, mail| !mail.is_on_the_wire());
    }
}
