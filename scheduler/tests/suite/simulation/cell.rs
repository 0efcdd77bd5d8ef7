//! A cell that does what it is told, unless it is gone.

use std::collections::{BTreeMap, BTreeSet};

use model::ids::InstanceId;
use model::instance::{ExitReason, InstanceState};
use scheduler::Time;

use super::net::{Chance, Life, Mail, Net, Order, Said};
use crate::world::{SECOND, Started, exit, running};

const BEAT: i64 = 10 * SECOND;

#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) at: Started,
    pub(crate) memory: u32,
    pub(crate) state: InstanceState,
    pub(crate) since: Time,
}

pub(crate) struct Cell {
    pub(crate) number: usize,
    pub(crate) memory: u32,
    pub(crate) is_up: bool,
    /// Whether the network carries what it says and hears.
    pub(crate) is_linked: bool,
    session: u64,
    pub(crate) held: BTreeMap<InstanceId, Held>,
    seen: BTreeSet<InstanceId>,
}

impl Cell {
    pub(crate) fn new(number: usize, memory: u32) -> Self {
        Self {
            number,
            memory,
            is_up: true,
            is_linked: true,
            session: 0,
            held: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    pub(crate) fn lose_host(&mut self) {
        self.is_up = false;
        self.held.clear();
    }

    /// Opens a session with a full report.
    pub(crate) fn beat(&mut self, now: Time, chance: &mut Chance, net: &mut Net) {
        net.at(Time(now.0 + BEAT), Mail::Beat { cell: self.number });
        self.session += 1;
        let all = self.held.values().cloned().collect();
        self.say(now, chance, net, Said::Report(all));
    }

    fn say(&self, now: Time, chance: &mut Chance, net: &mut Net, said: Said) {
        if self.is_up && self.is_linked {
            net.send(
                now,
                chance,
                Mail::Say {
                    cell: self.number,
                    session: self.session,
                    said,
                },
            );
        }
    }

    fn set(
        &mut self,
        now: Time,
        chance: &mut Chance,
        net: &mut Net,
        id: InstanceId,
        state: InstanceState,
    ) {
        let held = self.held.get_mut(&id).expect("held");
        (held.state, held.since) = (state, now);
        let held = held.clone();
        self.say(now, chance, net, Said::Instance(held));
    }

    pub(crate) fn obey(
        &mut self,
        now: Time,
        chance: &mut Chance,
        net: &mut Net,
        session: u64,
        order: Order,
    ) -> Result<(), String> {
        if !self.is_up || !self.is_linked || session != self.session {
            return Ok(());
        }
        match order {
            Order::Run(at, memory) => {
                if !self.seen.insert(at.instance) {
                    return Ok(());
                }
                let alive = self.held.values().filter(|held| !held.state.is_exited());
                let used: u32 = alive.map(|held| held.memory).sum();
                if used + memory > self.memory {
                    return Err(format!(
                        "cell {} has {} and got {used} + {memory}",
                        self.number, self.memory
                    ));
                }
                let held = Held {
                    at,
                    memory,
                    state: InstanceState::Starting,
                    since: now,
                };
                self.held.insert(at.instance, held.clone());
                self.say(now, chance, net, Said::Instance(held));
                let life = if net.is_faulty && chance.percent(15) {
                    Life::Crashes
                } else {
                    Life::BecomesReady
                };
                self.live(now, chance, net, at.instance, life);
            }
            Order::Stop(id) => {
                if self
                    .held
                    .get(&id)
                    .is_some_and(|held| !held.state.is_exited())
                {
                    self.set(now, chance, net, id, InstanceState::Stopping);
                    self.live(now, chance, net, id, Life::Ends);
                }
            }
            Order::Forget(id) => {
                if self
                    .held
                    .get(&id)
                    .is_some_and(|held| held.state.is_exited())
                {
                    self.held.remove(&id);
                }
            }
        }
        Ok(())
    }

    fn live(
        &self,
        now: Time,
        chance: &mut Chance,
        net: &mut Net,
        instance: InstanceId,
        life: Life,
    ) {
        let due = Time(now.0 + chance.between(SECOND / 10, 5 * SECOND));
        net.at(
            due,
            Mail::Life {
                cell: self.number,
                instance,
                life,
            },
        );
    }

    pub(crate) fn life(
        &mut self,
        now: Time,
        chance: &mut Chance,
        net: &mut Net,
        id: InstanceId,
        life: Life,
    ) {
        let Some(held) = self.held.get(&id) else {
            return;
        };
        match (life, &held.state) {
            (Life::BecomesReady, InstanceState::Starting) => {
                self.set(now, chance, net, id, running());
                if net.is_faulty && chance.percent(20) {
                    self.live(now, chance, net, id, Life::Crashes);
                }
            }
            (Life::Crashes, InstanceState::Starting | InstanceState::Running { .. }) => {
                let ran_s = if chance.percent(10) { 400 } else { 1 };
                let exit = exit(ExitReason::Exited, ran_s);
                self.set(now, chance, net, id, InstanceState::Exited { exit });
            }
            (Life::Ends, InstanceState::Stopping) => {
                let exit = exit(ExitReason::Stopped, 1);
                self.set(now, chance, net, id, InstanceState::Exited { exit });
            }
            _ => {}
        }
    }
}
