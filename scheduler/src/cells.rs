//! The cells and their room, ordered so that the best one for a piece of work is found without looking at all.
//!
//! Cells of one stack and zone form a pool, and a pool keeps its cells by free memory. An instance goes to the zone with
//! the fewest of its process, there to a cell with the fewest of its process, there to the most free memory.

mod cell;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use model::droplet::Stack;
use model::ids::CellId;
use model::protocol::cell::CellCapacity;
use uuid::Uuid;

pub(crate) use cell::{Cell, Need, Used};

use crate::spread::Spread;
use crate::types::PlacementError;

/// Cells whose free memory differs by less than this many MiB are equally good.
const BUCKET_MB: u32 = 64;

/// When even the emptiest cell of a pool has less than this share of its memory free, work goes where it fits most
/// tightly instead of being spread, so that the last large holes are kept for large work.
const TIGHT_SHARE: u64 = 8;

#[derive(Debug)]
struct Pool {
    zone: u32,
    /// Cells with a free container: bucket of free memory, id, key.
    by_free: BTreeSet<(u32, CellId, u32)>,
}

/// A cell that would do. The least is the best: fewest of the process, then the preferred bucket, then the lowest id.
type Candidate = (u32, u32, CellId, u32);

#[derive(Debug, Default)]
pub(crate) struct Cells {
    by_id: HashMap<CellId, u32>,
    cells: Vec<Cell>,
    zones: Vec<String>,
    zone_keys: BTreeMap<String, u32>,
    stacks: Vec<Stack>,
    stack_keys: BTreeMap<Stack, u32>,
    pools: Vec<Pool>,
    pool_keys: BTreeMap<(u32, u32), u32>,
    up: usize,
}

impl Cells {
    pub(crate) fn key(&self, cell: CellId) -> Option<u32> {
        self.by_id.get(&cell).copied()
    }

    pub(crate) fn get(&self, cell: u32) -> &Cell {
        &self.cells[cell as usize]
    }

    pub(crate) fn get_mut(&mut self, cell: u32) -> &mut Cell {
        &mut self.cells[cell as usize]
    }

    pub(crate) fn zone_name(&self, zone: u32) -> &str {
        &self.zones[zone as usize]
    }

    pub(crate) fn stack_name(&self, stack: u32) -> &Stack {
        &self.stacks[stack as usize]
    }

    /// How many cells are up.
    pub(crate) fn up(&self) -> usize {
        self.up
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(|cell| cell.up)
    }

    pub(crate) fn intern_stack(&mut self, stack: &Stack) -> u32 {
        if let Some(&key) = self.stack_keys.get(stack) {
            return key;
        }
        let key = self.stacks.len() as u32;
        self.stacks.push(stack.clone());
        self.stack_keys.insert(stack.clone(), key);
        key
    }

    fn intern_zone(&mut self, zone: &str) -> u32 {
        if let Some(&key) = self.zone_keys.get(zone) {
            return key;
        }
        let key = self.zones.len() as u32;
        self.zones.push(zone.to_owned());
        self.zone_keys.insert(zone.to_owned(), key);
        key
    }

    fn intern_pool(&mut self, stack: u32, zone: u32) -> u32 {
        let next = self.pools.len() as u32;
        let key = *self.pool_keys.entry((stack, zone)).or_insert(next);
        if key == next {
            self.pools.push(Pool {
                zone,
                by_free: BTreeSet::new(),
            });
        }
        key
    }

    /// The key of a cell, known from now on. A cell that never was up takes nothing.
    pub(crate) fn intern(&mut self, id: CellId) -> u32 {
        if let Some(key) = self.key(id) {
            return key;
        }
        let (stack, zone) = (
            self.intern_stack(&Stack(String::new())),
            self.intern_zone(""),
        );
        let pool = self.intern_pool(stack, zone);
        let key = self.cells.len() as u32;
        self.cells.push(Cell {
            id,
            up: false,
            zone,
            stack,
            capacity: CellCapacity {
                memory: Default::default(),
                disk: Default::default(),
                containers: 0,
            },
            used: Used::default(),
            instances: Vec::new(),
            tasks: BTreeSet::new(),
            exits: VecDeque::new(),
            pool,
            listed: None,
        });
        self.by_id.insert(id, key);
        key
    }

    /// Notes where a cell is and what it offers. Counts of its zone, if that changes, are the caller's matter.
    pub(crate) fn bring_up(&mut self, key: u32, zone: &str, stack: &Stack, capacity: CellCapacity) {
        let (stack, zone) = (self.intern_stack(stack), self.intern_zone(zone));
        let pool = self.intern_pool(stack, zone);
        self.unlist(key);
        let cell = &mut self.cells[key as usize];
        self.up += usize::from(!cell.up);
        cell.up = true;
        (cell.zone, cell.stack, cell.pool, cell.capacity) = (zone, stack, pool, capacity);
        self.list(key);
    }

    pub(crate) fn take_down(&mut self, key: u32) {
        self.unlist(key);
        let cell = &mut self.cells[key as usize];
        self.up -= usize::from(cell.up);
        cell.up = false;
    }

    pub(crate) fn book(&mut self, key: u32, need: Need) {
        let used = &mut self.cells[key as usize].used;
        used.memory += u64::from(need.memory);
        used.disk += u64::from(need.disk);
        used.containers += 1;
        self.list(key);
    }

    pub(crate) fn free(&mut self, key: u32, need: Need) {
        let used = &mut self.cells[key as usize].used;
        used.memory -= u64::from(need.memory);
        used.disk -= u64::from(need.disk);
        used.containers -= 1;
        self.list(key);
    }

    /// Puts a cell in the right place of its pool.
    fn list(&mut self, key: u32) {
        let cell = &mut self.cells[key as usize];
        let bucket =
            (cell.up && cell.free_containers() > 0).then(|| cell.free_memory() / BUCKET_MB);
        if bucket == cell.listed {
            return;
        }
        let by_free = &mut self.pools[cell.pool as usize].by_free;
        if let Some(old) = cell.listed {
            by_free.remove(&(old, cell.id, key));
        }
        if let Some(new) = bucket {
            by_free.insert((new, cell.id, key));
        }
        cell.listed = bucket;
    }

    fn unlist(&mut self, key: u32) {
        let cell = &mut self.cells[key as usize];
        if let Some(old) = cell.listed.take() {
            self.pools[cell.pool as usize]
                .by_free
                .remove(&(old, cell.id, key));
        }
    }

    /// The best cell for one more instance of a process.
    pub(crate) fn pick(&self, stack: u32, need: Need, spread: &Spread) -> Option<u32> {
        let mut tried = None;
        loop {
            // The zones with the fewest instances of the process, of those not tried yet.
            let counts = self
                .pools_of(Some(stack))
                .map(|pool| spread.in_zone(pool.zone));
            let fewest = counts
                .filter(|&count| tried.is_none_or(|tried| count > tried))
                .min()?;
            let zones = self
                .pools_of(Some(stack))
                .filter(|pool| spread.in_zone(pool.zone) == fewest);
            if let Some(best) = zones
                .filter_map(|pool| self.best_of(pool, need, spread))
                .min()
            {
                return Some(best.3);
            }
            tried = Some(fewest);
        }
    }

    /// The best cell for a task. Tasks live shortly, so zones do not matter.
    pub(crate) fn pick_for_task(&self, stack: Option<u32>, need: Need) -> Option<u32> {
        let spread = Spread::default();
        self.pools_of(stack)
            .filter_map(|pool| self.best_of(pool, need, &spread))
            .min()
            .map(|best| best.3)
    }

    fn pools_of(&self, stack: Option<u32>) -> impl Iterator<Item = &Pool> {
        let (first, last) = (stack.unwrap_or(0), stack.unwrap_or(u32::MAX));
        self.pool_keys
            .range((first, 0)..=(last, u32::MAX))
            .map(|(_, &key)| &self.pools[key as usize])
    }

    fn best_of(&self, pool: &Pool, need: Need, spread: &Spread) -> Option<Candidate> {
        let (_, _, emptiest) = *pool.by_free.last()?;
        let emptiest = self.get(emptiest);
        let lowest = (need.memory / BUCKET_MB, CellId::from_uuid(Uuid::nil()), 0);
        let fitting = pool.by_free.range(lowest..);
        if u64::from(emptiest.free_memory()) * TIGHT_SHARE < u64::from(emptiest.capacity.memory.0) {
            self.first_of(fitting.map(|entry| (entry.0, entry)), need, spread)
        } else {
            self.first_of(
                fitting.rev().map(|entry| (u32::MAX - entry.0, entry)),
                need,
                spread,
            )
        }
    }

    /// The first cell without an instance of the process, else the first of those with the fewest.
    fn first_of<'a>(
        &self,
        cells: impl Iterator<Item = (u32, &'a (u32, CellId, u32))>,
        need: Need,
        spread: &Spread,
    ) -> Option<Candidate> {
        let mut best: Option<Candidate> = None;
        for (rank, &(_, id, key)) in cells {
            if !self.get(key).fits(need) {
                continue;
            }
            let count = spread.on_cell(key);
            if best.is_none_or(|best| count < best.0) {
                best = Some((count, rank, id, key));
            }
            if count == 0 {
                break;
            }
        }
        best
    }

    /// Why nothing was picked. Looks at every cell of the stack.
    pub(crate) fn shortage(&self, stack: Option<u32>, need: Need) -> PlacementError {
        if self.up == 0 {
            return PlacementError::NoCells;
        }
        let mut compatible = 0_usize;
        let (mut memory, mut disk, mut containers) = (0, 0, 0);
        for cell in self
            .iter()
            .filter(|cell| stack.is_none_or(|stack| cell.stack == stack))
        {
            compatible += 1;
            memory = memory.max(cell.free_memory());
            disk = disk.max(cell.free_disk());
            containers = containers.max(cell.free_containers());
        }
        match stack {
            Some(stack) if compatible == 0 => {
                PlacementError::NoStack(self.stack_name(stack).clone())
            }
            _ => {
                let facts = [
                    ("containers", containers == 0),
                    ("disk", disk < need.disk),
                    ("memory", memory < need.memory),
                ];
                PlacementError::Insufficient {
                    short: facts
                        .into_iter()
                        .filter(|fact| fact.1)
                        .map(|fact| fact.0)
                        .collect(),
                    largest_free_memory_mb: memory,
                    needed_memory_mb: need.memory,
                }
            }
        }
    }
}
