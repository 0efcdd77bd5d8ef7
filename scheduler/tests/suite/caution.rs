//! What is held back: after a change of leader, and when many cells vanish at once.

use scheduler::{DOUBT, Event, LONGEST, PlacementError, RETURN, StopReason, Time, UpdateStrategy};

use crate::world::{
    SECOND, Started, World, app, capacity, cell, crash, process, running, stopped, version,
};

/// A new leader that found one app of `instances`, and waits for cells 1 to `cells`.
fn new_leader(instances: u32, cells: u128) -> World {
    let mut world = World::with_cells(0, 0);
    world.desire(app(1, instances));
    world.apply(Event::Inherit {
        cells: (1..=cells).map(cell).collect(),
    });
    world
}

fn ghost(n: u128, app: u128, index: u32, on: u128) -> Started {
    Started {
        instance: model::ids::InstanceId::from_uuid(uuid::Uuid::from_u128(n)),
        process: process(app),
        version: version(1),
        index,
        cell: cell(on),
    }
}

#[test]
fn what_an_earlier_leader_wanted_waits_until_every_cell_has_spoken() {
    let mut world = new_leader(2, 2);
    assert_eq!(world.plan(), []);
    world.cell_up(1, "z1", capacity(4000));
    assert_eq!(world.plan(), [], "index 0 may be running on the other cell");
    assert_eq!(
        world.row(1, 0).blocked,
        Some(PlacementError::Unsettled { cells: 1 })
    );
    world.cell_up(2, "z1", capacity(4000));
    world.say(ghost(7, 1, 0, 2), running());
    let start = world.only_start();
    assert_eq!(start.index, 1, "only what nobody runs is started");
}

#[test]
fn a_cell_that_stays_silent_is_given_up_and_its_work_goes_on_elsewhere() {
    let mut world = new_leader(1, 2);
    world.cell_up(1, "z1", capacity(4000));
    assert_eq!(world.plan(), []);
    world.pass(15);
    world.apply(Event::CellDown {
        cell: cell(2),
        silent: 0,
    });
    assert_eq!(world.only_start().cell, cell(1));
}

#[test]
fn what_is_first_wanted_now_starts_at_once() {
    let mut world = new_leader(1, 2);
    world.cell_up(1, "z1", capacity(4000));
    world.desire(app(2, 1));
    world.want_task(1, 100);
    let plan = world.plan();
    assert_eq!(plan.len(), 2, "{plan:?}");
    world.desire(app(1, 3));
    let mut indices = world
        .starts()
        .iter()
        .map(|start| start.index)
        .collect::<Vec<_>>();
    indices.sort_unstable();
    assert_eq!(indices, [1, 2], "index 0 is older and waits");
}

#[test]
fn a_new_version_of_an_old_index_waits_too_also_after_a_detour() {
    let mut world = new_leader(1, 2);
    world.cell_up(1, "z1", capacity(4000));
    let newer = scheduler::DesiredProcess {
        version: version(2),
        update: UpdateStrategy::Rolling { max_in_flight: 1 },
        ..app(1, 1)
    };
    world.apply(Event::Undesire {
        process: process(1),
    });
    assert_eq!(world.plan(), []);
    world.desire(newer);
    assert_eq!(world.plan(), []);
    world.cell_up(2, "z1", capacity(4000));
    world.say(ghost(7, 1, 0, 2), running());
    let new = world.only_start();
    assert_eq!(new.version, version(2), "the old one serves meanwhile");
    world.say(new, running());
    assert_eq!(
        world.stops(),
        [(ghost(7, 1, 0, 2).instance, StopReason::Replaced)]
    );
}

#[test]
fn nothing_is_stopped_before_every_cell_has_spoken() {
    let mut world = new_leader(1, 2);
    world.cell_up(1, "z1", capacity(4000));
    let (extra, doubled, elder) = (ghost(7, 9, 0, 1), ghost(8, 1, 0, 1), ghost(6, 1, 0, 2));
    world.say(extra, running());
    world.say(doubled, running());
    world.apply(Event::RestartInstance {
        process: process(1),
        index: 0,
    });
    assert_eq!(world.plan(), []);
    world.cell_up(2, "z1", capacity(4000));
    world.say(elder, running());
    let stops = world.plan();
    let stops = stops
        .iter()
        .filter_map(crate::world::stop)
        .collect::<Vec<_>>();
    assert_eq!(
        stops,
        [
            (doubled.instance, StopReason::Restarted),
            (extra.instance, StopReason::NotDesired)
        ]
    );
}

#[test]
fn a_crash_before_every_cell_has_spoken_is_counted_and_waits() {
    let mut world = new_leader(1, 2);
    world.cell_up(1, "z1", capacity(4000));
    world.say(ghost(7, 1, 0, 1), running());
    world.say(ghost(7, 1, 0, 1), crash());
    assert_eq!(world.plan(), []);
    assert_eq!(world.row(1, 0).crash_count, 1);
    world.cell_up(2, "z1", capacity(4000));
    world.only_start();
}

/// Ten cells with one instance each of an app.
fn ten_cells() -> (World, Vec<Started>) {
    let mut world = World::with_cells(10, 1000);
    world.desire(app(1, 10));
    let all = world.run_all();
    (world, all)
}

fn lose(world: &mut World, cells: impl IntoIterator<Item = u128>) {
    for n in cells {
        world.apply(Event::CellDown {
            cell: cell(n),
            silent: 0,
        });
    }
}

#[test]
fn a_few_lost_cells_are_replaced_at_once() {
    let (mut world, _) = ten_cells();
    lose(&mut world, 1..=3);
    assert!(world.scheduler.brake().is_none());
    assert_eq!(world.starts().len(), 3);
}

#[test]
fn cells_lost_one_after_another_are_replaced_at_once() {
    let (mut world, _) = ten_cells();
    for n in 1..=6 {
        lose(&mut world, [n]);
        let moved = world.run_all();
        assert!(!moved.is_empty(), "cell {n}");
        assert!(world.scheduler.brake().is_none(), "cell {n}");
        world.pass(20);
    }
}

#[test]
fn many_cells_lost_at_once_put_the_brake_on_until_they_return() {
    let (mut world, all) = ten_cells();
    lose(&mut world, 1..=4);
    let brake = world.scheduler.brake().expect("the brake is on");
    assert_eq!((brake.lost, brake.cells), (4, 10));
    assert_eq!(world.plan(), []);
    let lost = all
        .iter()
        .find(|one| one.cell == cell(1))
        .expect("one ran there");
    assert_eq!(
        world.row(1, lost.index).blocked,
        Some(PlacementError::Braked { lost: 4, cells: 10 })
    );
    // What has nothing to do with it goes on.
    world.desire(app(2, 1));
    let other = world.only_start();
    world.say(other, running());
    let well = *all
        .iter()
        .find(|one| one.cell == cell(9))
        .expect("one ran there");
    world.say(well, crash());
    assert_eq!(
        world.only_start().index,
        well.index,
        "a crash is no lost cell"
    );
    // Three of ten may be gone, if they do not return with the fourth.
    world.pass(30);
    world.cell_up(1, "z1", capacity(1000));
    world.say(*lost, running());
    assert!(world.scheduler.brake().is_none());
    assert!(world.scheduler.holds_what_was_lost());
    assert_eq!(world.plan(), []);
    world.now = world.now.after(RETURN);
    let replaced = world.starts();
    assert_eq!(replaced.len(), 3, "{replaced:?}");
    assert!(replaced.iter().all(|start| start.index != lost.index));
}

/// The first of several cells that vanished together: the others are silent, and not given up yet.
fn lose_the_first(world: &mut World, n: u128, silent: usize) {
    world.apply(Event::CellDown {
        cell: cell(n),
        silent,
    });
}

#[test]
fn the_first_of_many_lost_cells_waits_for_the_others() {
    let (mut world, _) = ten_cells();
    lose_the_first(&mut world, 1, 3);
    assert!(world.scheduler.brake().is_none(), "it is not on yet");
    assert_eq!(world.plan(), [], "and holds already");
    for (n, silent) in [(2, 2), (3, 1), (4, 0)] {
        world.pass(1);
        lose_the_first(&mut world, n, silent);
        assert_eq!(world.plan(), [], "cell {n}");
    }
    assert_eq!(world.scheduler.brake().expect("on").lost, 4);
}

#[test]
fn a_lost_cell_is_replaced_once_the_silent_ones_have_spoken() {
    let (mut world, _) = ten_cells();
    let began = world.now;
    lose_the_first(&mut world, 1, 3);
    assert_eq!(world.plan(), []);
    assert_eq!(world.scheduler.next_wake(), Some(began.after(DOUBT)));
    world.now = began.after(DOUBT);
    assert_eq!(world.starts().len(), 1);
    assert_eq!(world.scheduler.next_wake(), None);
}

#[test]
fn a_lost_cell_is_replaced_at_once_beside_few_silent_ones() {
    let (mut world, _) = ten_cells();
    lose_the_first(&mut world, 1, 2);
    assert_eq!(world.starts().len(), 1);
}

#[test]
fn cells_that_return_one_after_another_find_their_instances_in_place() {
    let (mut world, all) = ten_cells();
    lose(&mut world, 1..=4);
    assert_eq!(world.plan(), []);
    for n in 1..=4 {
        world.pass(1);
        world.cell_up(n, "z1", capacity(1000));
        for one in all.iter().filter(|one| one.cell == cell(n)) {
            world.say(*one, running());
        }
        assert_eq!(world.plan(), [], "cell {n}");
    }
    assert!(world.scheduler.brake().is_none());
    assert_eq!(world.scheduler.next_wake(), None);
}

#[test]
fn the_brake_is_released_by_time() {
    let (mut world, _) = ten_cells();
    let began = world.now;
    lose(&mut world, 1..=5);
    assert_eq!(world.plan(), []);
    assert_eq!(world.scheduler.next_wake(), Some(began.after(LONGEST)));
    world.pass(60);
    lose(&mut world, [6]);
    assert_eq!(world.plan(), []);
    world.now = Time(began.after(LONGEST).0 - 1);
    assert_eq!(world.plan(), []);
    world.now = began.after(LONGEST);
    assert_eq!(world.starts().len(), 6);
    assert!(world.scheduler.brake().is_none());
    // It is put on anew where cells go on vanishing.
    lose(&mut world, [7, 8]);
    assert!(world.scheduler.brake().is_some());
}

#[test]
fn a_new_version_and_a_wished_restart_pass_the_brake() {
    let (mut world, all) = ten_cells();
    lose(&mut world, 1..=4);
    assert_eq!(world.plan(), []);
    let lost = all
        .iter()
        .find(|one| one.cell == cell(1))
        .expect("one ran there");
    world.apply(Event::RestartInstance {
        process: process(1),
        index: lost.index,
    });
    assert_eq!(world.only_start().index, lost.index);
    world.desire(scheduler::DesiredProcess {
        version: version(2),
        ..app(1, 10)
    });
    let starts = world.plan();
    let starts = starts.iter().filter_map(crate::world::started).count();
    assert_eq!(starts, 10);
}

#[test]
fn of_two_cells_one_may_die() {
    let mut world = World::with_cells(2, 1000);
    world.desire(app(1, 2));
    world.run_all();
    lose(&mut world, [1]);
    assert_eq!(world.only_start().cell, cell(2));
}

#[test]
fn cells_that_no_new_leader_hears_of_put_the_brake_on_too() {
    let mut world = new_leader(10, 10);
    for n in 1..=5 {
        world.cell_up(n, "z1", capacity(1000));
        world.say(ghost(n, 1, n as u32 - 1, n), running());
    }
    world.pass(15);
    lose(&mut world, 6..=10);
    assert!(world.scheduler.brake().is_some());
    assert_eq!(world.plan(), [], "what ran on the others waits");
    let well = ghost(1, 1, 0, 1);
    world.say(well, stopped());
    assert_eq!(world.only_start().index, 0, "what was seen alive does not");
    world.now.0 += LONGEST.as_micros() as i64 + SECOND;
    assert_eq!(world.starts().len(), 5);
}
