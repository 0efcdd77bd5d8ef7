//! When to hold back, because what is known of the world may be wrong.
//!
//! *The barrier*: a new leader knows what is desired and not yet what runs. Until each cell that may hold instances of an
//! earlier leader has reported or is given up, nothing stops, and an index that was desired before this leader does not
//! start; what was first desired since then starts at once.
//!
//! *The brake*: when many cells vanish at once, it is more likely that the network or this leader is at fault than that
//! they all died. Then what was lost with them is not started elsewhere until enough of them have come back, or for
//! [`LONGEST`]. Everything else goes on: crashes, scaling, new apps.

use std::collections::BTreeMap;
use std::time::Duration;

use model::ids::CellId;
use model::protocol::cell::PRESENCE_TTL;

use crate::Scheduler;
use crate::state::{Process, Slot};
use crate::types::{BrakeView, PlacementError, Time};

/// More than this share of the cells lost within one presence TTL puts the brake on.
pub const SHARE_PERCENT: usize = 30;
/// Fewer cells than this never do: of two or three cells one may well die, and then its work has to go to the others.
pub const FEWEST: usize = 2;
/// The brake is released after this time, whatever has come back: by then a switch or a host would be up again.
pub const LONGEST: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(crate) struct Brake {
    /// Cells that are gone: since the brake was put on, or within the TTL before.
    lost: BTreeMap<CellId, Time>,
    /// Since when, and until when at the latest.
    on: Option<(Time, Time)>,
}

impl Brake {
    pub(crate) const fn is_on(&self) -> bool {
        self.on.is_some()
    }

    pub(crate) fn until(&self) -> Option<Time> {
        self.on.map(|(_, until)| until)
    }

    /// A cell is gone, `others` are not. Says whether the brake was put on by it.
    fn lose(&mut self, now: Time, cell: CellId, others: usize) -> bool {
        if self.is_on() {
            self.lost.insert(cell, now);
            return false;
        }
        self.lost.retain(|_, at| at.after(PRESENCE_TTL) >= now);
        self.lost.insert(cell, now);
        if is_too_many(self.lost.len(), others) {
            self.on = Some((now, now.after(LONGEST)));
        }
        self.is_on()
    }

    /// A cell is there (again), with it `present`. Says whether that released the brake.
    fn find(&mut self, cell: CellId, present: usize) -> bool {
        self.lost.remove(&cell);
        self.is_on() && !is_too_many(self.lost.len(), present) && self.on.take().is_some()
    }

    /// Says whether its time is over.
    fn expire(&mut self, now: Time) -> bool {
        if self.until().is_none_or(|until| until > now) {
            return false;
        }
        self.on = None;
        self.lost.clear();
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
            brake: self.brake.is_on(),
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
    pub(crate) fn found(&mut self, cell: CellId) {
        let settles = self.awaited.remove(&cell) && self.awaited.is_empty();
        let present = self.cells.up() + self.awaited.len();
        if self.brake.find(cell, present) || settles {
            self.look_at_all();
        }
    }

    /// A cell is given up that was up, or was waited for.
    pub(crate) fn lost(&mut self, now: Time, cell: CellId) {
        let settles = self.awaited.remove(&cell) && self.awaited.is_empty();
        let others = self.cells.up() + self.awaited.len();
        if self.brake.lose(now, cell, others) || settles {
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
        let is_over = self.awaited.is_empty() && !self.brake.is_on();
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
            let brake = self.brake()?;
            PlacementError::Braked {
                lost: brake.lost,
                cells: brake.cells,
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
        let (since, until) = self.brake.on?;
        let lost = self.brake.lost.len();
        Some(BrakeView {
            since,
            until,
            lost,
            cells: lost + self.cells.up() + self.awaited.len(),
        })
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
