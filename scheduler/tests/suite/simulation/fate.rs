//! What befalls the world, what people wish for, and what has to be true in the end.

use std::collections::BTreeMap;

use model::ids::ProcessId;
use model::instance::InstanceState;
use scheduler::{DesiredProcess, DesiredTask, Event, Older, Time, UpdateStrategy};

use super::cell::Held;
use super::driver::World;
use super::net::Mail;
use crate::world::{SECOND, app, limits, process, stack, task, version};

impl World {
    pub(super) fn fault(&mut self) {
        if !self.net.is_faulty {
            return;
        }
        let one = self.chance.below(self.cells.len() as u64) as usize;
        match self.chance.below(10) {
            0 | 1 => self.cells[one].lose_host(),
            2 | 3 => self.cells[one].is_linked = false,
            4..=6 => (self.cells[one].is_up, self.cells[one].is_linked) = (true, true),
            7 => self.new_leader(),
            _ => {}
        }
        let next = Time(self.now.0 + self.chance.between(SECOND, 8 * SECOND));
        self.net.at(next, Mail::Fault);
    }

    pub(super) fn wish(&mut self) {
        if !self.net.is_faulty {
            return;
        }
        let n = u128::from(1 + self.chance.below(self.processes));
        let instances = self.chance.below(self.most_instances + 1) as u32;
        let dice = self.chance.below(12);
        if !matches!(dice, 2 | 3) {
            // A wish of a person passes the brake.
            self.places.retain(|key, _| key.0 != process(n));
        }
        match dice {
            0 => {
                self.wishes.remove(&process(n));
                self.crashes.retain(|key, _| key.0 != process(n));
                self.apply(Event::Undesire {
                    process: process(n),
                });
            }
            1 => self.apply(Event::RestartInstance {
                process: process(n),
                index: instances,
            }),
            2 | 3 => {
                self.tasks_made += 1;
                let wish = DesiredTask {
                    task: task(self.tasks_made),
                    limits: limits(50),
                    stack: None,
                };
                self.tasks.insert(wish.task, (wish.clone(), None));
                self.apply(Event::Task(wish));
            }
            _ => {
                let in_flight = self.chance.below(4) as u32;
                let update = match in_flight {
                    0 => UpdateStrategy::Recreate,
                    max_in_flight => UpdateStrategy::Rolling { max_in_flight },
                };
                let version = version(u128::from(1 + self.chance.below(3)));
                let limits = limits(50 * n.min(8) as u32);
                let older = (self.chance.below(4) == 0).then(|| Older {
                    version: crate::world::version(u128::from(1 + self.chance.below(3))),
                    limits,
                    stack: stack(),
                    below: self.chance.below(u64::from(instances) + 1) as u32,
                });
                let wish = DesiredProcess {
                    version,
                    limits,
                    update,
                    older,
                    ..app(n, instances)
                };
                self.wishes.insert(wish.process, wish.clone());
                self.apply(Event::Desire(wish));
            }
        }
        let next = Time(self.now.0 + self.chance.between(SECOND / 10, 8 * SECOND));
        self.net.at(next, Mail::Wish);
    }

    pub(super) fn end_faults(&mut self) {
        self.net.is_faulty = false;
        for cell in &mut self.cells {
            (cell.is_up, cell.is_linked) = (true, true);
        }
    }

    /// What is not as it should be in the end.
    pub(super) fn wrong(&self) -> Option<String> {
        let mut running: BTreeMap<(ProcessId, u32), Vec<&Held>> = BTreeMap::new();
        for held in self.cells.iter().flat_map(|cell| cell.held.values()) {
            match held.state {
                InstanceState::Running { .. } => {
                    running
                        .entry((held.at.process, held.at.index))
                        .or_default()
                        .push(held);
                }
                _ => return Some(format!("{held:?} has not come to rest")),
            }
        }
        let free = self.scheduler.cells();
        let free = free
            .iter()
            .map(|view| view.capacity.memory.0.saturating_sub(view.used.memory.0))
            .max();
        for wish in self.wishes.values() {
            let rows = self.scheduler.process(wish.process);
            let is_blocked = rows.iter().any(|row| row.blocked.is_some());
            if is_blocked && free.is_some_and(|free| free >= wish.limits.memory.0) {
                return Some(format!("{rows:?} wait although {free:?} is free"));
            }
            for row in rows {
                let older = wish.older.as_ref().filter(|older| row.index < older.below);
                let version = older.map_or(wish.version, |older| older.version);
                match running.remove(&(wish.process, row.index)).as_deref() {
                    Some([one]) if one.at.version == version || is_blocked => {}
                    None if row.blocked.is_some() => {}
                    other => return Some(format!("{row:?} is {other:?} of {wish:?}")),
                }
            }
        }
        if let Some(extra) = running.values().next() {
            return Some(format!("nobody wants {extra:?}"));
        }
        if let Some(due) = self.scheduler.next_wake() {
            return Some(format!("something is left to do at {due:?}"));
        }
        let free = free.is_some_and(|free| free >= 50);
        let under_way = self.tasks.values().find(|known| known.1.is_some() || free);
        under_way.map(|task| format!("{task:?} is under way"))
    }
}
