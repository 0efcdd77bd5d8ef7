//! Where things go, and what happens when there is no room.

use std::collections::BTreeMap;

use model::droplet::Stack;
use model::ids::InstanceId;
use model::limits::{Limits, Megabytes};
use model::protocol::cell::CellCapacity;
use scheduler::{Decision, DesiredProcess, DesiredTask, Event, PlacementError};

use crate::world::*;

/// What is blocked, of a plan that starts nothing.
fn blocked(decisions: Vec<Decision>) -> Vec<(u32, PlacementError)> {
    let reason = |decision| match decision {
        Decision::Blocked { index, why, .. } => (index, why),
        other => panic!("{other:?}"),
    };
    decisions.into_iter().map(reason).collect()
}

#[test]
fn first_instances_go_before_tasks_and_tasks_before_further_instances_larger_ones_first() {
    let mut world = World::with_cells(5, 100_000);
    world.desire(DesiredProcess {
        limits: limits(10),
        ..app(1, 2)
    });
    world.desire(DesiredProcess {
        limits: limits(500),
        ..app(2, 2)
    });
    world.want_task(1, 20);
    world.want_task(2, 30);
    let order: Vec<String> = world
        .plan()
        .iter()
        .map(|decision| match decision {
            Decision::Start {
                process: of, index, ..
            } => {
                format!(
                    "{}.{index}",
                    if *of == process(1) { "small" } else { "large" }
                )
            }
            Decision::StartTask { task: of, .. } => {
                if *of == task(1) { "task 20" } else { "task 30" }.to_owned()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        order,
        [
            "large.0", "small.0", "task 30", "task 20", "large.1", "small.1"
        ]
    );
}

#[test]
fn instances_of_a_process_are_spread_over_cells() {
    let mut world = World::with_cells(4, 10_000);
    // One cell has far more room; still each gets its share.
    world.cell_up(9, "z1", capacity(90_000));
    world.desire(app(1, 10));
    let mut counts = BTreeMap::new();
    for start in world.starts() {
        *counts.entry(start.cell).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [2; 5]);
}

#[test]
fn zones_are_balanced_before_cells_are_compared() {
    let mut world = World::with_cells(0, 0);
    // Zone a has one small cell, zone b three large ones.
    world.cell_up(1, "a", capacity(1000));
    for n in 2..=4 {
        world.cell_up(n, "b", capacity(50_000));
    }
    world.desire(app(1, 8));
    let in_a = world
        .starts()
        .iter()
        .filter(|start| start.cell == cell(1))
        .count();
    assert_eq!(in_a, 4);
    // A full zone is passed over.
    world.desire(app(1, 30));
    let in_a = world
        .starts()
        .iter()
        .filter(|start| start.cell == cell(1))
        .count();
    assert_eq!(in_a, 6);
}

#[test]
fn the_emptiest_cell_is_taken() {
    let mut world = World::with_cells(3, 10_000);
    world.cell_up(7, "z1", capacity(12_000));
    world.desire(app(1, 1));
    assert_eq!(world.only_start().cell, cell(7));
}

#[test]
fn no_kind_of_room_is_given_twice() {
    let room = |memory, disk, containers| CellCapacity {
        memory: Megabytes(memory),
        disk: Megabytes(disk),
        containers,
    };
    // An instance takes 100 MiB of memory and 10 of disk.
    for (capacity, fit, short) in [
        (room(350, 10_000, 100), 3, "memory"),
        (room(10_000, 45, 100), 4, "disk"),
        (room(10_000, 10_000, 5), 5, "containers"),
    ] {
        let mut world = World::with_cells(0, 0);
        world.cell_up(1, "z1", capacity);
        world.desire(app(1, 8));
        let (starts, rest): (Vec<_>, Vec<_>) =
            world.plan().into_iter().partition(|d| started(d).is_some());
        assert_eq!(starts.len(), fit);
        let rest = blocked(rest);
        assert_eq!(rest.len(), 8 - fit);
        for (_, why) in rest {
            assert_eq!(why.to_string(), format!("insufficient resources: {short}"));
        }
    }
}

#[test]
fn the_reason_names_what_is_short_everywhere() {
    let mut world = World::with_cells(0, 0);
    world.desire(app(1, 1));
    let said = |world: &mut World| {
        let reasons: Vec<String> = blocked(world.plan())
            .iter()
            .map(|(_, why)| why.to_string())
            .collect();
        reasons.join("; ")
    };
    assert_eq!(said(&mut world), "no cell is connected");
    let stack = Stack("other".into());
    world.apply(Event::CellUp {
        cell: cell(1),
        zone: "z1".into(),
        stack,
        capacity: capacity(4000),
    });
    assert_eq!(
        said(&mut world),
        "found no compatible cell for required stack 'test'"
    );
    world.cell_up(
        2,
        "z1",
        CellCapacity {
            containers: 0,
            ..capacity(50)
        },
    );
    assert_eq!(
        said(&mut world),
        "insufficient resources: containers, memory"
    );
    world.cell_up(
        3,
        "z1",
        CellCapacity {
            disk: Megabytes(1),
            ..capacity(50)
        },
    );
    assert_eq!(said(&mut world), "insufficient resources: memory");
    world.cell_up(
        4,
        "z1",
        CellCapacity {
            disk: Megabytes(1),
            ..capacity(4000)
        },
    );
    assert_eq!(said(&mut world), "insufficient resources");
    world.cell_up(5, "z1", capacity(4000));
    assert_eq!(world.only_start().cell, cell(5));
}

#[test]
fn a_reason_is_said_once_and_the_work_placed_when_room_appears() {
    let mut world = World::with_cells(1, 250);
    world.desire(app(1, 4));
    let plan = world.plan();
    let placed: Vec<Started> = plan.iter().filter_map(started).collect();
    assert_eq!((placed.len(), plan.len()), (2, 4));
    assert!(world.row(1, 2).blocked.is_some());
    for &start in &placed {
        world.say(start, running());
    }
    assert_eq!(world.plan(), []);
    assert_eq!(
        world.scheduler.next_wake(),
        None,
        "nothing is tried while nothing changes"
    );
    // A newcomer of the same need hears the reason too, and only it.
    world.desire(app(1, 5));
    assert_eq!(
        blocked(world.plan())
            .iter()
            .map(|said| said.0)
            .collect::<Vec<_>>(),
        [4]
    );
    world.desire(app(2, 1));
    world.plan();
    world.cell_up(2, "z1", capacity(150));
    let start = world.only_start();
    assert_eq!(
        (start.process, start.index),
        (process(2), 0),
        "index 0 goes first"
    );
    world.apply(Event::Undesire {
        process: process(2),
    });
    world.plan();
    world.say(start, stopped());
    assert_eq!(world.only_start().index, 2);
    world.desire(app(1, 2));
    assert_eq!(world.stops().len(), 1);
    assert_eq!(
        world.scheduler.next_wake(),
        None,
        "work that is not wanted any more does not wait"
    );
}

#[test]
fn an_order_keeps_its_room_until_the_cell_has_answered() {
    let mut world = World::with_cells(1, 150);
    world.desire(app(1, 1));
    let start = world.only_start();
    world.desire(app(2, 1));
    assert_eq!(blocked(world.plan()).len(), 1);
    world.pass(10_000);
    assert_eq!(world.plan(), [], "time alone frees nothing");
    world.apply(Event::Undesire {
        process: process(1),
    });
    assert_eq!(world.stops().len(), 1);
    assert_eq!(world.plan(), [], "neither does an order to stop");
    world.apply(Event::InstanceGone {
        cell: start.cell,
        instance: start.instance,
    });
    assert_eq!(world.only_start().process, process(2));
}

#[test]
fn work_goes_only_to_cells_of_its_stack() {
    let mut world = World::with_cells(3, 4000);
    let other = Stack("other".into());
    world.apply(Event::CellUp {
        cell: cell(9),
        zone: "z1".into(),
        stack: other.clone(),
        capacity: capacity(900),
    });
    world.desire(DesiredProcess {
        stack: other.clone(),
        ..app(1, 3)
    });
    assert!(world.starts().iter().all(|start| start.cell == cell(9)));
    let wish = DesiredTask {
        task: task(1),
        limits: limits(1),
        stack: Some(other),
    };
    world.apply(Event::Task(wish));
    assert_eq!(
        world.plan(),
        [Decision::StartTask {
            task: task(1),
            cell: cell(9)
        }]
    );
}

#[test]
fn the_last_large_hole_is_kept_for_large_work() {
    let mut world = World::with_cells(2, 8000);
    world.desire(DesiredProcess {
        limits: limits(7200),
        ..app(1, 1)
    });
    let first = world.only_start().cell;
    world.desire(DesiredProcess {
        limits: limits(7500),
        ..app(2, 1)
    });
    let second = world.only_start().cell;
    assert_ne!(first, second);
    // 800 and 500 MiB are left. The small one goes where it fits tightly, so that the large one fits too.
    world.desire(DesiredProcess {
        limits: limits(300),
        ..app(3, 1)
    });
    assert_eq!(world.only_start().cell, second);
    world.desire(DesiredProcess {
        limits: limits(800),
        ..app(4, 1)
    });
    assert_eq!(world.only_start().cell, first);
}

#[test]
fn a_task_is_placed_at_most_once() {
    let mut world = World::with_cells(2, 4000);
    world.want_task(1, 100);
    let plan = world.plan();
    let [Decision::StartTask { cell: on, .. }] = plan[..] else {
        panic!("{plan:?}")
    };
    world.want_task(1, 100);
    assert_eq!(world.plan(), []);
    assert_eq!(world.scheduler.task(task(1)).expect("known").cell, Some(on));
    assert_eq!(world.scheduler.tasks_on(on), [task(1)]);
    world.apply(Event::CellDown {
        cell: on,
        silent: 0,
    });
    assert_eq!(world.plan(), []);
    assert_eq!(
        world.scheduler.task(task(1)),
        None,
        "it is lost with its cell"
    );
}

#[test]
fn a_task_known_to_be_placed_is_booked_and_not_placed_again() {
    for wish_first in [true, false] {
        for cell_first in [true, false] {
            let mut world = World::with_cells(0, 0);
            if cell_first {
                world.cell_up(1, "z1", capacity(150));
            }
            if wish_first {
                world.want_task(1, 100);
            }
            world.apply(Event::TaskPlaced {
                task: task(1),
                cell: cell(1),
            });
            if !wish_first {
                world.want_task(1, 100);
            }
            if !cell_first {
                world.cell_up(1, "z1", capacity(150));
            }
            assert_eq!(world.plan(), []);
            assert_eq!(world.scheduler.cells()[0].used.memory, Megabytes(100));
            world.want_task(2, 100);
            assert!(matches!(world.plan()[..], [Decision::TaskBlocked { .. }]));
            world.apply(Event::TaskEnded { task: task(1) });
            assert_eq!(
                world.plan(),
                [Decision::StartTask {
                    task: task(2),
                    cell: cell(1)
                }]
            );
        }
    }
}

#[test]
fn a_cancelled_task_does_not_wait() {
    let mut world = World::with_cells(0, 0);
    world.want_task(1, 100);
    assert_eq!(
        world.plan(),
        [Decision::TaskBlocked {
            task: task(1),
            why: PlacementError::NoCells
        }]
    );
    assert_eq!(
        world.scheduler.task(task(1)).expect("known").blocked,
        Some(PlacementError::NoCells)
    );
    world.apply(Event::TaskEnded { task: task(1) });
    world.cell_up(1, "z1", capacity(4000));
    assert_eq!(world.plan(), []);
}

#[test]
fn a_cell_that_changes_zone_takes_its_instances_along() {
    let mut world = World::with_cells(0, 0);
    world.cell_up(1, "a", capacity(4000));
    world.cell_up(2, "b", capacity(4000));
    world.cell_up(3, "b", capacity(4000));
    world.desire(app(1, 2));
    world.run_all();
    let used: Vec<u32> = world
        .scheduler
        .cells()
        .iter()
        .map(|view| view.used.containers)
        .collect();
    // The zones hold one each. The used cell of b moves to a, which leaves b with none.
    let moved = if used[1] == 1 { 2 } else { 3 };
    world.cell_up(moved, "a", capacity(4000));
    world.desire(app(1, 3));
    assert_eq!(world.only_start().cell, cell(5 - moved));
    let limits = Limits {
        memory: Megabytes(9000),
        ..limits(1)
    };
    world.desire(DesiredProcess {
        limits,
        ..app(2, 1)
    });
    assert_eq!(blocked(world.plan()).len(), 1);
}

#[test]
fn what_a_cell_reports_takes_its_real_size_once_its_process_is_desired() {
    let mut world = World::with_cells(0, 0);
    world.cell_up(1, "z1", capacity(1100));
    let at = |n: u128, of: u128| Started {
        instance: InstanceId::from_uuid(uuid::Uuid::from_u128(n)),
        process: process(1),
        version: version(of),
        index: 0,
        cell: cell(1),
    };
    world.say(at(1, 1), running());
    world.say(at(2, 7), running());
    let used = |world: &World| world.scheduler.cells()[0].used.memory;
    assert_eq!(used(&world), Megabytes(2 * 512), "a guess");
    world.desire(app(1, 0));
    assert_eq!(used(&world), Megabytes(2 * 100));
}
