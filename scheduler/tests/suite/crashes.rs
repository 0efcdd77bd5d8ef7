//! What happens after an instance has ended.

use model::ids::InstanceId;
use model::instance::{ExitReason, InstanceState};
use scheduler::restart::{FIRST_WAIT, GIVE_UP_AT};
use scheduler::{Event, IndexStatus, Time};
use uuid::Uuid;

use crate::world::*;

#[test]
fn crashed_instance_restarts_with_backoff() {
    let mut world = World::with_cells(1, 4000);
    world.desire(app(1, 1));
    let waits = [0, 0, 30, 60, 120, 240, 480, 960, 960, 960];
    for (count, wait) in (1..).zip(waits) {
        let start = world.only_start();
        world.say(start, running());
        world.say(start, crash());
        assert_eq!(world.row(1, 0).crash_count, count);
        if wait > 0 {
            let due = Time(world.now.0 + wait * SECOND);
            assert_eq!(world.plan(), []);
            assert_eq!(world.scheduler.next_wake(), Some(due));
            assert!(
                matches!(world.row(1, 0).status, IndexStatus::Crashed { restart_at: Some(at), .. } if at == due)
            );
            world.now = Time(due.0 - 1);
            assert_eq!(world.plan(), [], "not a microsecond early");
            world.now = due;
        }
    }
}

#[test]
fn after_two_hundred_crashes_it_is_not_started_again_until_somebody_asks() {
    for way_out in ["restart", "new version"] {
        let mut world = World::with_cells(1, 4000);
        world.desire(app(1, 1));
        for _ in 0..GIVE_UP_AT {
            let start = world.only_start();
            world.say(start, crash());
            world.pass(960);
        }
        assert_eq!(world.plan(), []);
        assert_eq!(world.scheduler.next_wake(), None);
        assert!(matches!(
            world.row(1, 0).status,
            IndexStatus::Crashed {
                restart_at: None,
                ..
            }
        ));
        match way_out {
            "restart" => world.apply(Event::RestartInstance {
                process: process(1),
                index: 0,
            }),
            _ => world.desire(scheduler::DesiredProcess {
                version: version(2),
                ..app(1, 1)
            }),
        }
        world.only_start();
        assert_eq!(world.row(1, 0).crash_count, 0);
    }
}

#[test]
fn a_new_version_and_a_restart_do_not_wait_for_the_back_off() {
    for restart in [true, false] {
        let mut world = World::with_cells(1, 4000);
        world.desire(app(1, 1));
        for _ in 0..3 {
            let start = world.only_start();
            world.say(start, crash());
        }
        assert_eq!(world.plan(), []);
        if restart {
            world.apply(Event::RestartInstance {
                process: process(1),
                index: 0,
            });
        } else {
            world.desire(scheduler::DesiredProcess {
                version: version(2),
                ..app(1, 1)
            });
        }
        let start = world.only_start();
        world.say(start, running());
        assert_eq!(world.plan(), []);
        assert_eq!(world.scheduler.next_wake(), None, "the timer is gone too");
    }
}

#[test]
fn a_long_run_forgives_earlier_crashes() {
    let mut world = World::with_cells(1, 4000);
    world.desire(app(1, 1));
    for (ran_s, count) in [(1, 1), (1, 2), (301, 1), (300, 2)] {
        let start = world.only_start();
        world.say(start, running());
        world.say(
            start,
            InstanceState::Exited {
                exit: exit(ExitReason::Exited, ran_s),
            },
        );
        assert_eq!(world.row(1, 0).crash_count, count);
    }
}

#[test]
fn a_stopped_instance_has_not_crashed_and_is_started_again() {
    let mut world = World::with_cells(1, 4000);
    world.desire(app(1, 1));
    for _ in 0..5 {
        let start = world.only_start();
        world.say(start, running());
        world.say(start, stopped());
        assert_eq!(world.row(1, 0).crash_count, 0);
    }
}

#[test]
fn one_end_counts_once_however_often_it_is_told() {
    let mut world = World::with_cells(1, 4000);
    world.desire(app(1, 1));
    let start = world.only_start();
    for _ in 0..5 {
        world.say(start, crash());
    }
    let next = world.only_start();
    world.say(start, crash());
    world.say(start, running());
    assert_eq!(
        world.plan(),
        [],
        "late words of an ended one are not believed"
    );
    world.say(next, running());
    world.say(start, crash());
    assert_eq!(world.plan(), []);
    let row = world.row(1, 0);
    assert_eq!((row.crash_count, row.instance), (1, Some(next.instance)));
}

#[test]
fn a_new_leader_goes_on_counting_where_the_old_one_stopped() {
    let mut world = World::with_cells(1, 4000);
    world.desire(app(1, 1));
    let ghost = InstanceId::from_uuid(Uuid::from_u128(9));
    let history = Event::CrashHistory {
        process: process(1),
        version: version(1),
        index: 0,
        instance: ghost,
        crash_count: 3,
        at: world.now,
        exit: exit(ExitReason::Exited, 1),
    };
    world.apply(history);
    // The cell still lists the end that was counted.
    let told = Started {
        instance: ghost,
        process: process(1),
        version: version(1),
        index: 0,
        cell: cell(1),
    };
    world.say(told, crash());
    assert_eq!(world.plan(), []);
    assert_eq!(world.row(1, 0).crash_count, 3);
    assert_eq!(
        world.scheduler.next_wake(),
        Some(world.now.after(FIRST_WAIT))
    );
}

#[test]
fn an_end_during_a_rolling_update_that_no_leader_has_counted_yet_counts() {
    let mut world = World::with_cells(1, 4000);
    world.desire(scheduler::DesiredProcess {
        version: version(2),
        update: scheduler::UpdateStrategy::Rolling { max_in_flight: 1 },
        ..app(1, 1)
    });
    let told = |n: u128, of: u128| Started {
        instance: InstanceId::from_uuid(Uuid::from_u128(n)),
        process: process(1),
        version: version(of),
        index: 0,
        cell: cell(1),
    };
    let history = Event::CrashHistory {
        process: process(1),
        version: version(2),
        index: 0,
        instance: told(8, 2).instance,
        crash_count: 2,
        at: world.now,
        exit: exit(ExitReason::Exited, 1),
    };
    world.apply(history);
    world.pass(1);
    // The old one serves, and the new one ended while there was no leader.
    world.say(told(7, 1), running());
    world.say(told(9, 2), crash());
    assert_eq!(world.row(1, 0).crash_count, 3);
    // An earlier one that was counted already, told once more by its cell.
    world.scheduler.apply(
        scheduler::Time(0),
        Event::Instance {
            cell: cell(1),
            process: process(1),
            version: version(2),
            index: 0,
            instance: told(6, 2).instance,
            state: crash(),
        },
    );
    assert_eq!(world.row(1, 0).crash_count, 3);
}

#[test]
fn an_end_that_no_leader_has_counted_yet_counts() {
    let mut world = World::with_cells(1, 4000);
    world.desire(app(1, 1));
    let ghost = InstanceId::from_uuid(Uuid::from_u128(9));
    let told = Started {
        instance: ghost,
        process: process(1),
        version: version(1),
        index: 0,
        cell: cell(1),
    };
    world.say(told, crash());
    world.say(told, crash());
    assert_eq!(world.row(1, 0).crash_count, 1);
    world.only_start();
}
