//! When to hold back, because what is known of the world may be wrong.
//!
//! *The barrier*: a new leader knows what is desired and not yet what runs. Until each cell that may hold instances of an
//! earlier leader has reported or is given up, nothing stops, and an index that was desired before this leader does not
//! start; what was first desired since then starts at once.
//!
//! *The brake*: when many cells vanish at once, it is more likely that the network or this leader is at fault than that
//! they all died. Then what was lost with them is not started elsewhere until enough of them have come back, or for
//! [`LONGEST`]. Everything else goes on: crashes, scaling, new apps. The first of them is given up some seconds before the
//! last, since each is counted from its own last word, and they return in as many moments. So cells that are silent then
//! count as if they were lost, and those that have not returned with the others are waited for: [`DOUBT`] and [`RETURN`].

use std::collections::BTreeMap;
use std::time::Duration;

use model::ids::CellId;
use model::protocol::cell::{HEARTBEAT, PRESENCE_TTL};

use crate::Scheduler;
use crate::state::{Process, Slot};
use crate::types::{BrakeView, PlacementError, Time};

/// More than this share of the cells lost within one presence TTL puts the brake on.
pub const SHARE_PERCENT: usize = 30;
/// Fewer cells than this never do: of two or three cells one may well die, and then its work has to go to the others.
pub const FEWEST: usize = 2;
/// The brake is released after this time, whatever has come back: by then a switch or a host would be up again.
pub const LONGEST: Duration = Duration::from_secs(120);
/// Whoever was silent for [`SILENT`] has by then been given up or has spoken.
pub const DOUBT: Duration = Duration::from_secs(PRESENCE_TTL.as_secs() - SILENT.as_secs() + 1);
/// Cells that have lost their server try again within this time of one another.
pub const RETURN: Duration = Duration::from_secs(10);
/// A cell that was not heard of for so long may be about to be lost: two heartbeats are missing.
pub const SILENT: Duration = Duration::from_secs(HEARTBEAT.as_secs() * 3);

#[derive(Debug, Default)]
pub(crate) struct Brake {
    /// Cells that are gone: since the brake was put on, or within the TTL before.
    lost: BTreeMap<CellId, Time>,
    state: BrakeState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum BrakeState {
    #[default]
    Off,
    /// It would be on with the silent cells, or was on and enough of the others have come back.
    InDoubt {
        until: Time,
    },
    On {
        since: Time,
        until: Time,
    },
}

impl Brake {
    /// Whether what was lost waits.
    pub(crate) const fn holds(&self) -> bool {
        !matches!(self.state, BrakeState::Off)
    }

    /// When it is released at the latest.
    pub(crate) fn until(&self) -> Option<Time> {
        match self.state {
            BrakeState::Off => None,
            BrakeState::InDoubt { until } | BrakeState::On { until, .. } => Some(until),
        }
    }

    /// A cell is gone, `others` are not, and `silent` of those may be. Says whether what is held back has changed by it.
    fn lose(&mut self, now: Time, cell: CellId, others: usize, silent: usize) -> bool {
        let held = self.holds();
        if !matches!(self.state, BrakeState::On { .. }) {
            self.lost.retain(|_, at| at.after(PRESENCE_TTL) >= now);
        }
        self.lost.insert(cell, now);
        let silent = silent.min(others);
        self.state = match self.state {
            on @ BrakeState::On { .. } => on,
            _ if is_too_many(self.lost.len(), others) => BrakeState::On {
                since: now,
                until: now.after(LONGEST),
            },
            doubt @ BrakeState::InDoubt { .. } => doubt,
            BrakeState::Off if is_too_many(self.lost.len() + silent, others - silent) => {
                BrakeState::InDoubt {
                    until: now.after(DOUBT),
                }
            }
            BrakeState::Off => BrakeState::Off,
        };
        self.holds() != held
    }

    /// A cell is there (again), with it `present`. Says whether that released the brake.
    fn find(&mut self, now: Time, cell: CellId, present: usize) -> bool {
        self.lost.remove(&cell);
        let enough = !is_too_many(self.lost.len(), present);
        self.state = match self.state {
            BrakeState::On { .. } | BrakeState::InDoubt { .. } if self.lost.is_empty() => {
                BrakeState::Off
            }
            // Cells that vanished together return together, but not in one moment.
            BrakeState::On { until, .. } if enough => BrakeState::InDoubt {
                until: now.after(RETURN).min(until),
            },
            _ => return false,
        };
        !self.holds()
    }

    /// Says whether its time is over.
    fn expire(&mut self, now: Time) -> bool {
        if self.until().is_none_or(|until| until > now) {
            return false;
        }
        if matches!(self.state, BrakeState::On { .. }) {
            self.lost.clear();
        }
        self.state = BrakeState::Off;
        true
    }
}

fn is_too_many(lost: usize, others: usize) -> bool {
    lost >= FEWEST && lost * 100 > (lost + others) * SHARE_PERCENT
}

/// What holds work back now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caution {
    pub(crate) barrier: bool,
    brake: bool,
}

impl Caution {
    /// Whether an index without an instance has to stay so.
    pub(crate) fn holds(self, process: &Process, index: u32, slot: &Slot) -> bool {
        let inherited = index < process.inherited;
        (self.barrier && inherited) || (self.brake && (slot.bereft || (inherited && !slot.touched)))
    }
}

impl Scheduler {
    pub(crate) fn caution(&self) -> Caution {
        Caution {
            barrier: !self.awaited.is_empty(),
            brake: self.brake.holds(),
        }
    }

    /// A new leader begins: all that is desired now is older than it.
    pub(crate) fn inherit(&mut self, cells: Vec<CellId>) {
        self.awaited = cells
            .into_iter()
            .filter(|cell| {
                self.cells
                    .key(*cell)
                    .is_none_or(|key| !self.cells.get(key).up)
            })
            .collect();
        for key in self.processes.keys() {
            let process = &mut self.processes[key];
            process.inherited = process
                .desired
                .as_ref()
                .map_or(0, |desired| desired.wish.instances);
        }
        self.look_at_all();
    }

    /// A cell has come up.
    pub(crate) fn found(&mut self, now: Time, cell: CellId) {
        let settles = self.awaited.remove(&cell) && self.awaited.is_empty();
        let present = self.cells.up() + self.awaited.len();
        if self.brake.find(now, cell, present) || settles {
            self.look_at_all();
        }
    }

    /// A cell is given up that was up, or was waited for, while `silent` others were not heard of for [`SILENT`].
    pub(crate) fn lost(&mut self, now: Time, cell: CellId, silent: usize) {
        let settles = self.awaited.remove(&cell) && self.awaited.is_empty();
        let others = self.cells.up() + self.awaited.len();
        if self.brake.lose(now, cell, others, silent) || settles {
            self.look_at_all();
        }
    }

    pub(crate) fn expire_brake(&mut self) {
        if self.brake.expire(self.now) {
            self.look_at_all();
        }
    }

    /// What is held back has changed, for any index.
    fn look_at_all(&mut self) {
        let is_over = self.awaited.is_empty() && !self.brake.holds();
        for key in self.processes.keys() {
            if is_over {
                self.processes[key].inherited = 0;
            }
            self.mark_all(key);
        }
    }

    /// Why an index without an instance is held back, if it is.
    pub(crate) fn hold(
        &self,
        process: &Process,
        index: u32,
        slot: &Slot,
    ) -> Option<PlacementError> {
        let caution = self.caution();
        if process.desired_at(index).is_none() || !caution.holds(process, index, slot) {
            return None;
        }
        Some(if caution.barrier {
            PlacementError::Unsettled {
                cells: self.awaited.len(),
            }
        } else {
            PlacementError::Braked {
                lost: self.brake.lost.len(),
                cells: self.cells_in_all(),
            }
        })
    }

    /// Cells that may hold instances of an earlier leader and have neither reported nor been given up, in order.
    pub fn awaited(&self) -> impl Iterator<Item = CellId> {
        self.awaited.iter().copied()
    }

    /// The brake, while it is on.
    #[must_use]
    pub fn brake(&self) -> Option<BrakeView> {
        let BrakeState::On { since, until } = self.brake.state else {
            return None;
        };
        Some(BrakeView {
            since,
            until,
            lost: self.brake.lost.len(),
            cells: self.cells_in_all(),
        })
    }

    /// Whether what was lost with cells waits, be it for the brake or for a doubt.
    #[must_use]
    pub fn holds_what_was_lost(&self) -> bool {
        self.brake.holds()
    }

    fn cells_in_all(&self) -> usize {
        self.brake.lost.len() + self.cells.up() + self.awaited.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dead_cell_is_replaced_and_many_at_once_are_not_believed() {
        let table = [
            // lost, others
            (1, 0, false),
            (1, 1, false),
            (1, 2, false),
            (1, 9, false),
            (2, 0, true),
            (2, 1, true),
            (2, 4, true),
            (2, 5, false),
            (3, 7, false),
            (4, 6, true),
            (300, 700, false),
            (301, 699, true),
        ];
        for (lost, others, want) in table {
            assert_eq!(
                is_too_many(lost, others),
                want,
                "{lost} lost, {others} left"
            );
        }
    }
}
