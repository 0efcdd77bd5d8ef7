//! From one version to the next.

use model::instance::InstanceState;
use scheduler::{Decision, DesiredProcess, Event, IndexStatus, Older, StopReason, UpdateStrategy};

use crate::world::*;

fn rolling(instances: u32, n: u128, max_in_flight: u32) -> DesiredProcess {
    DesiredProcess {
        version: version(n),
        update: UpdateStrategy::Rolling { max_in_flight },
        ..app(1, instances)
    }
}

#[test]
fn recreate_stops_old_ones_and_starts_new_ones_at_once() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 3));
    world.run_all();
    world.desire(DesiredProcess {
        version: version(2),
        ..app(1, 3)
    });
    let plan = world.plan();
    let stops: Vec<_> = plan[..3]
        .iter()
        .filter_map(stop)
        .map(|stop| stop.1)
        .collect();
    assert_eq!(stops, [StopReason::Replaced; 3]);
    let starts: Vec<_> = plan[3..]
        .iter()
        .filter_map(started)
        .map(|start| start.version)
        .collect();
    assert_eq!(starts, [version(2); 3]);
}

#[test]
fn recreate_waits_for_the_memory_of_the_old_ones() {
    let mut world = World::with_cells(1, 250);
    world.desire(app(1, 2));
    let old = world.run_all();
    world.desire(DesiredProcess {
        version: version(2),
        ..app(1, 2)
    });
    let plan = world.plan();
    assert_eq!(plan.iter().filter_map(stop).count(), 2);
    assert_eq!(
        plan.iter()
            .filter(|decision| matches!(decision, Decision::Blocked { .. }))
            .count(),
        2
    );
    world.say(old[1], stopped());
    let first = world.only_start();
    assert_eq!((first.index, first.version), (0, version(2)));
    world.say(old[0], stopped());
    assert_eq!(world.only_start().index, 1);
}

#[test]
fn rolling_stops_an_old_one_only_when_its_replacement_runs() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 5));
    let old = world.run_all();
    world.desire(rolling(5, 2, 2));
    let mut beside = world.starts();
    assert_eq!(
        beside.iter().map(|start| start.index).collect::<Vec<_>>(),
        [0, 1]
    );
    for _ in 0..5 {
        let new = beside.remove(0);
        world.say(new, InstanceState::Starting);
        assert_eq!(world.plan(), []);
        let row = world.row(1, new.index);
        assert_eq!(
            row.instance,
            Some(old[new.index as usize].instance),
            "the serving one is shown"
        );
        world.say(new, running());
        let plan = world.plan();
        let stopped = stop(&plan[0]);
        assert_eq!(
            stopped,
            Some((old[new.index as usize].instance, StopReason::Replaced))
        );
        beside.extend(
            plan[1..]
                .iter()
                .map(|decision| started(decision).expect("a start")),
        );
        assert!(beside.len() <= 2);
        assert_eq!(
            world.scheduler.versions_running(process(1), version(2)),
            new.index + 1
        );
    }
    assert!(beside.is_empty());
    assert_eq!(world.plan(), []);
}

#[test]
fn a_new_version_that_crashes_leaves_the_old_one_serving() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 3));
    let old = world.run_all();
    world.desire(rolling(3, 2, 1));
    for _ in 0..3 {
        let new = world.only_start();
        assert_eq!(new.index, 0);
        world.say(new, crash());
    }
    assert_eq!(
        world.plan(),
        [],
        "it backs off, and no other index is touched"
    );
    let row = world.row(1, 0);
    assert_eq!((row.instance, row.crash_count), (Some(old[0].instance), 3));
    assert!(matches!(row.status, IndexStatus::Running { .. }));
    // Back to the old version: nothing has to start.
    world.desire(rolling(3, 1, 1));
    assert_eq!(world.plan(), []);
    assert_eq!(world.scheduler.next_wake(), None);
}

#[test]
fn scaling_while_rolling_keeps_to_both_wishes() {
    let mut world = World::with_cells(2, 10_000);
    world.desire(app(1, 4));
    let old = world.run_all();
    world.desire(rolling(4, 2, 1));
    let first = world.only_start();
    // Up: new indices start in the new version at once, not being in anybody's way.
    world.desire(rolling(6, 2, 1));
    let more: Vec<_> = world
        .starts()
        .iter()
        .map(|start| (start.index, start.version))
        .collect();
    assert_eq!(more, [(4, version(2)), (5, version(2))]);
    // Down: extra old ones go, the roll goes on.
    world.desire(rolling(2, 2, 1));
    let stops = world.stops();
    assert_eq!(stops.len(), 4);
    assert_eq!(
        stops[2..],
        [3, 2].map(|index: usize| (old[index].instance, StopReason::NotDesired))
    );
    world.say(first, running());
    let plan = world.plan();
    assert_eq!(
        stop(&plan[0]),
        Some((old[0].instance, StopReason::Replaced))
    );
    assert_eq!(started(&plan[1]).map(|start| start.index), Some(1));
}

#[test]
fn an_old_one_that_dies_before_its_turn_is_replaced_by_a_new_one() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 3));
    let old = world.run_all();
    world.desire(rolling(3, 2, 1));
    world.only_start();
    world.say(old[2], crash());
    let new = world.only_start();
    assert_eq!((new.index, new.version), (2, version(2)));
    assert_eq!(
        world.row(1, 2).crash_count,
        0,
        "the crash was the old version's"
    );
}

#[test]
fn a_third_version_replaces_the_second_before_it_serves() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 1));
    let old = world.run_all()[0];
    world.desire(rolling(1, 2, 1));
    let second = world.only_start();
    world.desire(rolling(1, 3, 1));
    let plan = world.plan();
    assert_eq!(
        stop(&plan[0]),
        Some((second.instance, StopReason::Replaced))
    );
    let third = started(&plan[1]).expect("the third starts");
    assert_eq!(plan.len(), 2, "the first goes on serving");
    world.say(third, running());
    assert_eq!(world.stops(), [(old.instance, StopReason::Replaced)]);
}

#[test]
fn an_undesired_process_stops_in_the_middle_of_a_roll() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 2));
    world.run_all();
    world.desire(rolling(2, 2, 1));
    world.only_start();
    world.apply(Event::Undesire {
        process: process(1),
    });
    assert_eq!(world.stops().len(), 3);
}

/// `new` canaries of version 2 beside the first `below` of version 1.
fn canary(below: u32, instances: u32) -> DesiredProcess {
    DesiredProcess {
        older: Some(Older {
            version: version(1),
            limits: limits(100),
            stack: stack(),
            below,
        }),
        ..rolling(instances, 2, 1)
    }
}

#[test]
fn a_canary_stands_beside_the_old_version_which_goes_on_being_kept() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 2));
    let old = world.run_all();
    world.desire(canary(2, 3));
    let new = world.only_start();
    assert_eq!((new.index, new.version), (2, version(2)));
    world.say(new, running());
    assert_eq!(world.plan(), [], "it pauses there");
    // An old instance that ends meanwhile starts again as what it was.
    world.say(old[0], crash());
    let again = world.only_start();
    assert_eq!((again.index, again.version), (0, version(1)));
    world.say(again, running());
    assert_eq!(world.plan(), []);
    assert_eq!(world.row(1, 0).version, Some(version(1)));
    assert_eq!(world.scheduler.versions_running(process(1), version(2)), 1);
}

#[test]
fn a_further_step_of_a_canary_rolls_only_the_indices_that_change_hands() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 4));
    let old = world.run_all();
    world.desire(canary(4, 5));
    let first = world.only_start();
    world.say(first, running());
    world.say(old[3], crash());
    let again = world.only_start();
    world.say(again, running());
    world.desire(canary(3, 5));
    let second = world.only_start();
    assert_eq!((second.index, second.version), (3, version(2)));
    assert_eq!(
        world.row(1, 3).crash_count,
        0,
        "what the old version did is not held against the new one"
    );
    world.say(second, running());
    assert_eq!(world.stops(), [(again.instance, StopReason::Replaced)]);
    // On to the end: the extra one goes, the others roll.
    world.desire(rolling(4, 2, 4));
    let plan = world.plan();
    assert_eq!(
        plan.iter().filter_map(stop).collect::<Vec<_>>(),
        [(first.instance, StopReason::NotDesired)]
    );
    let starts = plan.iter().filter_map(started).collect::<Vec<_>>();
    assert_eq!(
        starts.iter().map(|start| start.index).collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

#[test]
fn going_back_from_a_canary_stops_the_new_ones_and_no_old_one() {
    let mut world = World::with_cells(2, 4000);
    world.desire(app(1, 2));
    let old = world.run_all();
    world.desire(canary(1, 3));
    for new in world.starts() {
        world.say(new, running());
    }
    assert_eq!(
        world.stops(),
        [(old[1].instance, StopReason::Replaced)],
        "index 1 has changed hands"
    );
    world.desire(rolling(2, 1, 9));
    let plan = world.plan();
    assert_eq!(plan.iter().filter_map(stop).count(), 1, "{plan:?}");
    let back = plan.iter().find_map(started).expect("a start");
    assert_eq!((back.index, back.version), (1, version(1)));
    world.say(back, running());
    assert_eq!(world.stops().len(), 1);
    assert_eq!(world.plan(), []);
}
