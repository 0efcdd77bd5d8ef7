//! Measures the scheduler: the largest world it is made for, and Diego's own case.
//!
//! Prints one `figure <name> <value> <unit>` a line, in a release build: `cargo run -p scheduler --release --example
//! bench`. Times are by the clock on the wall; `_cpu` beside them is the time that the one thread really had, which on a
//! busy machine is the fairer figure.

use std::collections::BTreeMap;
use std::time::Instant;

use model::droplet::Stack;
use model::ids::{CellId, ProcessId, VersionId};
use model::instance::InstanceState;
use model::limits::{Limits, Megabytes};
use model::protocol::cell::CellCapacity;
use scheduler::{Decision, DesiredProcess, Event, Scheduler, Time, UpdateStrategy};
use uuid::Uuid;

/// Sizes in MiB of Diego's case, ten of them, from 64 MB to 4 GB with a mean of about 1.04 GB.
const SIZES: [u32; 10] = [64, 128, 256, 256, 512, 512, 1024, 1536, 2048, 4096];

fn main() {
    million();
    diego();
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// Real ids are random; numbers in a row would lie in memory as no real ones do.
    fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.below(u64::MAX), self.below(u64::MAX))
    }
}

#[expect(clippy::print_stdout, reason = "figures are this program's output")]
fn figure(name: &str, value: f64, unit: &str) {
    println!("figure scheduler.{name} {value} {unit}");
}

/// Time since a start: on the wall, and that this thread had a processor (Linux only).
struct Watch {
    wall: Instant,
    cpu: Option<f64>,
}

impl Watch {
    fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu: cpu_seconds(),
        }
    }

    /// Prints both figures, in units of `per_second` to the second.
    fn stop(&self, name: &str, per_second: f64, unit: &str) {
        let wall = self.wall.elapsed().as_secs_f64();
        let cpu = self
            .cpu
            .zip(cpu_seconds())
            .map(|(before, after)| after - before);
        figure(name, rounded(wall * per_second, 2), unit);
        // The kernel keeps this clock by ticks, too coarse for less.
        if let Some(cpu) = cpu.filter(|&cpu| cpu > 0.1) {
            figure(&format!("{name}_cpu"), rounded(cpu * per_second, 2), unit);
        }
    }
}

/// The first number of `schedstat` is the time on a processor in ns (Linux, Documentation/scheduler/sched-stats.rst).
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let ns: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(ns as f64 / 1e9)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

struct World {
    scheduler: Scheduler,
    chance: Chance,
    now: Time,
    cells: Vec<CellId>,
    /// What runs where: process, memory, cell.
    placed: Vec<(ProcessId, u32, CellId)>,
}

impl World {
    fn new(cells: usize, capacity: CellCapacity) -> Self {
        let mut chance = Chance(1);
        let mut scheduler = Scheduler::new(1);
        let cells: Vec<CellId> = (0..cells)
            .map(|_| CellId::from_uuid(chance.uuid()))
            .collect();
        for (number, &cell) in cells.iter().enumerate() {
            let zone = format!("z{}", number % 3);
            scheduler.apply(
                Time(0),
                Event::CellUp {
                    cell,
                    zone,
                    stack: stack(),
                    capacity,
                },
            );
        }
        Self {
            scheduler,
            chance,
            now: Time(0),
            cells,
            placed: Vec::new(),
        }
    }

    fn app(&mut self, instances: u32, memory: u32) -> DesiredProcess {
        DesiredProcess {
            process: ProcessId::from_uuid(self.chance.uuid()),
            version: VersionId::from_uuid(self.chance.uuid()),
            instances,
            limits: Limits {
                memory: Megabytes(memory),
                disk: Megabytes(1024),
                pids: 1024,
            },
            stack: stack(),
            update: UpdateStrategy::Recreate,
            older: None,
        }
    }

    fn desire(&mut self, wishes: &[DesiredProcess]) {
        for wish in wishes {
            self.scheduler.apply(self.now, Event::Desire(wish.clone()));
        }
    }

    /// Plans until nothing is left to decide.
    fn plan(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        while self
            .scheduler
            .next_wake()
            .is_some_and(|due| due <= self.now)
        {
            decisions.extend(self.scheduler.plan(self.now, usize::MAX).decisions);
        }
        decisions
    }

    /// Lets everything run that was started. Returns how many places were not found.
    fn run(&mut self, decisions: &[Decision], memory: &BTreeMap<ProcessId, u32>) -> usize {
        self.now.0 += 1_000_000;
        let address = "10.0.0.1:8080".parse().expect("an address");
        let mut blocked = 0;
        for decision in decisions {
            match *decision {
                Decision::Start {
                    instance,
                    process,
                    version,
                    index,
                    cell,
                } => {
                    self.placed.push((process, memory[&process], cell));
                    let state = InstanceState::Running { address };
                    self.scheduler.apply(
                        self.now,
                        Event::Instance {
                            cell,
                            process,
                            version,
                            index,
                            instance,
                            state,
                        },
                    );
                }
                Decision::Blocked { .. } => blocked += 1,
                _ => {}
            }
        }
        blocked
    }
}

fn stack() -> Stack {
    Stack("bench".into())
}

/// A million instances of 100,000 apps on 10,000 cells, from nothing; then 1,000 more; then a cell is lost.
fn million() {
    let capacity = CellCapacity {
        memory: Megabytes(128 * 1024),
        disk: Megabytes(1024 * 1024),
        containers: 250,
    };
    let mut world = World::new(10_000, capacity);
    let wishes: Vec<DesiredProcess> = (0..100_000)
        .map(|_| {
            let memory = SIZES[world.chance.below(10) as usize];
            world.app(10, memory)
        })
        .collect();
    let mut memory: BTreeMap<_, _> = wishes
        .iter()
        .map(|wish| (wish.process, wish.limits.memory.0))
        .collect();

    let watch = Watch::start();
    world.desire(&wishes);
    let decisions = world.plan();
    watch.stop("million", 1.0, "s");
    assert_eq!(decisions.len(), 1_000_000);
    assert_eq!(world.run(&decisions, &memory), 0);
    assert_eq!(world.plan(), []);

    let more: Vec<DesiredProcess> = (0..100).map(|_| world.app(10, 512)).collect();
    memory.extend(more.iter().map(|wish| (wish.process, 512)));
    let watch = Watch::start();
    world.desire(&more);
    let decisions = world.plan();
    watch.stop("plus_1000", 1e3, "ms");
    assert_eq!(decisions.len(), 1000);
    assert_eq!(world.run(&decisions, &memory), 0);
    assert_eq!(world.plan(), []);

    let cell = world.cells[5000];
    let lost = world.scheduler.instances_on(cell).len();
    let watch = Watch::start();
    world
        .scheduler
        .apply(world.now, Event::CellDown { cell, silent: 0 });
    let decisions = world.plan();
    watch.stop("cell_lost", 1e3, "ms");
    assert_eq!(
        decisions
            .iter()
            .filter(|decision| matches!(decision, Decision::Start { .. }))
            .count(),
        lost
    );
}

/// Diego's case: cells of 64 GiB, 256 GiB of disk and 250 containers in three zones; apps of 1 to 10 instances, and of
/// 100 for one in 200; planned in batches of 1,000.
fn diego() {
    let capacity = CellCapacity {
        memory: Megabytes(64 * 1024),
        disk: Megabytes(256 * 1024),
        containers: 250,
    };
    let mut world = World::new(1000, capacity);
    fill(&mut world, |placed, _| placed >= 50_000);

    let mut on_cell: BTreeMap<CellId, u64> = world.cells.iter().map(|&cell| (cell, 0)).collect();
    let mut together: BTreeMap<(ProcessId, CellId), u32> = BTreeMap::new();
    let zone_of: BTreeMap<CellId, usize> = world
        .cells
        .iter()
        .enumerate()
        .map(|(n, &cell)| (cell, n % 3))
        .collect();
    let mut in_zone: BTreeMap<ProcessId, [u32; 3]> = BTreeMap::new();
    for &(process, memory, cell) in &world.placed {
        *on_cell.get_mut(&cell).expect("a cell") += u64::from(memory);
        *together.entry((process, cell)).or_default() += 1;
        in_zone.entry(process).or_default()[zone_of[&cell]] += 1;
    }
    let mean = on_cell.values().sum::<u64>() as f64 / on_cell.len() as f64;
    let variance = on_cell
        .values()
        .map(|&used| (used as f64 - mean).powi(2))
        .sum::<f64>()
        / on_cell.len() as f64;
    figure("cv", rounded(variance.sqrt() / mean, 4), "x");
    figure(
        "colocation",
        f64::from(together.into_values().max().unwrap_or(0)),
        "instances",
    );
    let skew =
        |counts: [u32; 3]| counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0);
    figure(
        "zone_skew",
        f64::from(in_zone.into_values().map(skew).max().unwrap_or(0)),
        "instances",
    );

    let mut world = World::new(200, capacity);
    let room = f64::from(64 * 1024) * 200.0;
    let blocked = fill(&mut world, |_, demand| demand as f64 >= room * 0.984);
    figure("failed_at_98", blocked as f64, "instances");
    figure("placed_at_98", world.placed.len() as f64, "instances");
}

/// Adds apps in batches of about 1,000 instances until `is_enough`, told the number of instances and their MiB. Returns
/// how many found no place.
fn fill(world: &mut World, is_enough: impl Fn(u32, u64) -> bool) -> usize {
    let (mut instances, mut demand, mut blocked) = (0, 0, 0);
    let mut memory = BTreeMap::new();
    while !is_enough(instances, demand) {
        let (mut batch, mut size) = (Vec::new(), 0);
        while size < 1000 && !is_enough(instances, demand) {
            let count = if world.chance.below(200) == 0 {
                100
            } else {
                1 + world.chance.below(10) as u32
            };
            let each = SIZES[world.chance.below(10) as usize];
            let wish = world.app(count, each);
            memory.insert(wish.process, each);
            batch.push(wish);
            size += count;
            instances += count;
            demand += u64::from(count) * u64::from(each);
        }
        world.desire(&batch);
        let decisions = world.plan();
        blocked += world.run(&decisions, &memory);
    }
    blocked
}
