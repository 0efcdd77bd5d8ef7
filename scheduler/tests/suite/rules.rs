//! What starts and stops.

use model::ids::InstanceId;
use model::instance::InstanceState;
use scheduler::{Decision, Event, IndexStatus, StopReason, Time};
use uuid::Uuid;

use crate::world::*;

#[test]
fn every_desired_index_starts_once() {
    let mut world = World::with_cells(3, 4000);
    world.desire(app(1, 5));
    let indices: Vec<u32> = world.starts().iter().map(|start| start.index).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4]);
    assert_eq!(world.plan(), []);
    assert_eq!(world.scheduler.next_wake(), None);
    world.desire(app(1, 5));
    assert_eq!(world.plan(), [], "a repeated wish changes nothing");
}

#[test]
fn scaling_down_stops_the_highest_indices_first() {
    let mut world = World::with_cells(3, 4000);
    world.desire(app(1, 5));
    let all = world.run_all();
    world.desire(app(1, 2));
    let want = [4, 3, 2].map(|index| (all[index].instance, StopReason::NotDesired));
    assert_eq!(world.stops(), want);
    assert_eq!(
        world.row(1, 3).status,
        IndexStatus::Stopping,
        "an extra index is shown while it is there"
    );
    for index in [2, 3, 4] {
        world.say(all[index], stopped());
    }
    assert_eq!(world.plan(), []);
    assert_eq!(world.scheduler.process(process(1)).len(), 2);
}

#[test]
fn an_undesired_process_stops_and_is_forgotten() {
    let mut world = World::with_cells(3, 4000);
    world.desire(app(1, 2));
    let all = world.run_all();
    world.apply(Event::Undesire {
        process: process(1),
    });
    assert_eq!(world.stops().len(), 2);
    world.say(all[0], stopped());
    world.say(all[1], crash());
    assert_eq!(world.plan(), []);
    assert_eq!(world.scheduler.processes(), []);
    assert!(
        world
            .scheduler
            .cells()
            .iter()
            .all(|cell| cell.used.containers == 0)
    );
}

#[test]
fn an_instance_nobody_desires_is_stopped() {
    let mut world = World::with_cells(1, 4000);
    world.desire(app(1, 1));
    world.run_all();
    for (n, index) in [(2, 0), (1, u32::MAX)] {
        let instance = InstanceId::from_uuid(Uuid::from_u128(n + 70));
        let stray = Started {
            instance,
            process: process(n),
            version: version(1),
            index,
            cell: cell(1),
        };
        world.say(stray, running());
        assert_eq!(world.stops(), [(instance, StopReason::NotDesired)]);
        world.say(stray, stopped());
        assert_eq!(world.plan(), []);
    }
}

#[test]
fn of_two_instances_of_an_index_the_running_one_stays_and_then_the_older() {
    for (first, second, first_stays) in [
        (InstanceState::Starting, running(), false),
        (running(), InstanceState::Starting, true),
        (running(), running(), true),
        (InstanceState::Starting, InstanceState::Starting, true),
    ] {
        let mut world = World::with_cells(2, 4000);
        world.desire(app(1, 1));
        let here = world.only_start();
        world.say(here, first);
        world.pass(1);
        let other = Started {
            instance: InstanceId::from_uuid(Uuid::from_u128(1)),
            cell: cell(2),
            ..here
        };
        world.say(other, second);
        let loser = if first_stays { other } else { here };
        assert_eq!(world.stops(), [(loser.instance, StopReason::Duplicate)]);
        world.say(loser, stopped());
        assert_eq!(world.plan(), []);
        assert_eq!(world.row(1, 0).crash_count, 0);
    }
}

#[test]
fn instances_of_a_lost_cell_are_replaced_at_once_and_have_not_crashed() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 2));
    let all = world.run_all();
    world.apply(Event::CellDown {
        cell: all[0].cell,
        silent: 0,
    });
    let again = world.only_start();
    assert_eq!((again.index, again.cell), (all[0].index, all[1].cell));
    assert_eq!(world.row(1, 0).crash_count, 0);
}

#[test]
fn a_returning_instance_wins_unless_its_replacement_runs() {
    for replacement_runs in [false, true] {
        let mut world = World::with_cells(2, 4000);
        world.desire(app(1, 1));
        let original = world.run_all()[0];
        world.apply(Event::CellDown {
            cell: original.cell,
            silent: 0,
        });
        let replacement = world.only_start();
        world.say(
            replacement,
            if replacement_runs {
                running()
            } else {
                InstanceState::Starting
            },
        );
        world.pass(20);
        let returned = if original.cell == cell(1) { 1 } else { 2 };
        world.cell_up(returned, "z1", capacity(4000));
        world.say(original, running());
        let loser = if replacement_runs {
            original
        } else {
            replacement
        };
        assert_eq!(world.stops(), [(loser.instance, StopReason::Duplicate)]);
    }
}

#[test]
fn a_cell_that_is_not_up_is_not_believed() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 1));
    let original = world.run_all()[0];
    world.apply(Event::CellDown {
        cell: original.cell,
        silent: 0,
    });
    let replacement = world.only_start();
    world.say(original, running());
    assert_eq!(world.plan(), []);
    assert_eq!(world.row(1, 0).instance, Some(replacement.instance));
}

#[test]
fn a_restarted_instance_is_stopped_and_started() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 2));
    let all = world.run_all();
    world.apply(Event::RestartInstance {
        process: process(1),
        index: 1,
    });
    let decisions = world.plan();
    assert_eq!(
        stop(&decisions[0]),
        Some((all[1].instance, StopReason::Restarted))
    );
    assert_eq!(started(&decisions[1]).map(|start| start.index), Some(1));
    assert_eq!(decisions.len(), 2);
}

#[test]
fn a_stop_that_the_cell_did_not_hear_is_given_again() {
    let mut world = World::with_cells(1, 4000);
    world.desire(app(1, 1));
    let start = world.run_all()[0];
    world.apply(Event::Undesire {
        process: process(1),
    });
    let want = [(start.instance, StopReason::NotDesired)];
    assert_eq!(world.stops(), want);
    assert_eq!(world.plan(), []);
    world.say(start, running());
    assert_eq!(world.stops(), want);
    world.say(start, InstanceState::Stopping);
    world.say(start, running());
    assert_eq!(world.plan(), [], "what has begun to stop does not go back");
}

#[test]
fn an_order_that_came_to_nothing_is_repeated_but_not_in_a_tight_loop() {
    let mut world = World::with_cells(1, 4000);
    world.desire(app(1, 1));
    for wait in [0, 1, 2, 4, 8, 16, 32, 32] {
        let start = world.only_start();
        world.apply(Event::InstanceGone {
            cell: start.cell,
            instance: start.instance,
        });
        world.apply(Event::InstanceGone {
            cell: start.cell,
            instance: start.instance,
        });
        if wait > 0 {
            assert_eq!(world.plan(), []);
            assert_eq!(
                world.scheduler.next_wake(),
                Some(Time(world.now.0 + wait * SECOND))
            );
            world.pass(wait);
        }
    }
    assert_eq!(world.row(1, 0).crash_count, 0);
    let start = world.only_start();
    world.say(start, running());
    world.apply(Event::InstanceGone {
        cell: start.cell,
        instance: start.instance,
    });
    world.only_start();
}

#[test]
fn a_plan_keeps_to_its_budget_and_the_rest_is_due_at_once() {
    let mut world = World::with_cells(2, 10_000);
    world.desire(app(1, 10));
    let mut placed = 0;
    for _ in 0..3 {
        assert_eq!(world.scheduler.next_wake(), Some(world.now));
        let plan = world.scheduler.plan(world.now, 3).decisions;
        placed += plan.len();
        assert_eq!(plan.len(), 3);
    }
    assert_eq!(
        (placed, world.scheduler.plan(world.now, 3).decisions.len()),
        (9, 1)
    );
    assert_eq!(world.scheduler.next_wake(), None);
    world.apply(Event::Undesire {
        process: process(1),
    });
    let mut stops = Vec::new();
    while world.scheduler.next_wake() == Some(world.now) {
        let plan = world.scheduler.plan(world.now, 4).decisions;
        assert!(!plan.is_empty() && plan.len() <= 4);
        stops.extend(plan);
    }
    assert_eq!(stops.len(), 10);
    assert!(
        stops
            .iter()
            .all(|decision| matches!(decision, Decision::Stop { .. }))
    );
}
