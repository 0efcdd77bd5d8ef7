//! Single rules of the fleet, each with the one thing that goes wrong.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use model::ids::Incarnation;
use model::instance::InstanceState;
use model::protocol::cell::OrderBody;
use model::protocol::router::RouteMessage;
use store::records::DeploymentState;
use tokio::time::Instant;

use super::cell::Fate;
use super::on_virtual_time;
use super::world::World;

/// The endpoints that routers are told of an app's first route.
fn endpoints(world: &World, app: model::ids::AppId) -> usize {
    let state = world.fleet().state();
    state.endpoints(app).len()
}

impl World {
    /// Crashes the one running instance of an app.
    async fn crash(&mut self) {
        let app = self.apps[0];
        let (cell, _, instance, _) = self.running(app)[0];
        self.cells[cell].decide(instance, Duration::ZERO, Fate::Crash);
        self.wait(1).await;
    }

    /// Seconds until another instance is ordered.
    async fn until_ordered(&mut self, patience_s: u64) -> Option<u64> {
        let (before, began) = (self.ran(), Instant::now());
        while began.elapsed() < Duration::from_secs(patience_s) {
            if self.ran() > before {
                return Some(began.elapsed().as_secs());
            }
            self.wait(1).await;
        }
        None
    }
}

#[test]
fn a_new_server_goes_on_counting_crashes() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 1, 1).await;
        world.desire(world.apps[0], 1).await;
        world.wait(5).await;
        for _ in 0..2 {
            world.crash().await;
            world.wait(5).await;
            assert_eq!(
                world.running(world.apps[0]).len(),
                1,
                "it starts again at once"
            );
        }
        world.kill_server();
        world.wait(2).await;
        world.start_server().await;
        world.wait(3).await;
        world.crash().await;
        let waited = world.until_ordered(60).await.expect("it starts again");
        assert!(
            (27..=31).contains(&waited),
            "the third wait is 30 s, not {waited} s"
        );
        // Also while it waits a new server keeps to it.
        world.wait(5).await;
        world.crash().await;
        world.wait(20).await;
        world.kill_server();
        world.start_server().await;
        let waited = world.until_ordered(90).await.expect("it starts again");
        assert!(
            (35..=41).contains(&waited),
            "60 s less 21 s, not {waited} s"
        );
        // Who asks for a fresh start gets one, also of the next server.
        let process = world.apps[0].web_process();
        world
            .store
            .forgive_crashes(process, 0)
            .await
            .expect("forgiven");
        world.fleet().restart_instance(process, 0);
        world.wait(5).await;
        world.kill_server();
        world.start_server().await;
        world.wait(5).await;
        world.crash().await;
        world.wait(5).await;
        assert_eq!(
            world.running(world.apps[0]).len(),
            1,
            "the first crash again"
        );
    });
}

#[test]
fn a_crash_that_was_counted_and_not_forgotten_counts_once() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 1, 1).await;
        world.desire(world.apps[0], 1).await;
        world.wait(5).await;
        // The cell is told nothing any more, so that it tells each new server of the same end.
        world.crash().await;
        world.wait(5).await;
        for _ in 0..4 {
            world.cells[0].lose_next_orders();
            world.cells[0].break_link();
            world.kill_server();
            world.start_server().await;
            world.wait(1).await;
            world.cells[0].lose_next_orders();
            world.wait(1).await;
        }
        let counts = world.store.list_crash_counts().await.expect("listed");
        assert_eq!(counts[0].count, 1);
    });
}

#[test]
fn the_third_exit_fails_a_deployment_also_when_the_server_was_killed_after_the_second() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 1, 1).await;
        let app = world.apps[0];
        let served = world.desire(app, 1).await;
        world.wait(5).await;
        let old = world.running(app)[0].2;
        let deployment = world.deploy(app, 1).await;
        let crash_newest = async |world: &mut World| {
            for _ in 0..400 {
                let step = Duration::from_millis(100);
                world.pass(step, step).await;
                let newest = world.cells[0].seen.ran.last().expect("ordered").clone();
                let is_new = newest.version != served.version;
                let is_starting = world.cells[0]
                    .held
                    .get(&newest.instance)
                    .is_some_and(|held| held.state == InstanceState::Starting);
                if is_new && is_starting {
                    world.cells[0].decide(newest.instance, Duration::ZERO, Fate::Crash);
                    world.pass(step, step).await;
                    return;
                }
            }
            panic!("no new instance");
        };
        crash_newest(&mut world).await;
        crash_newest(&mut world).await;
        world.kill_server();
        world.start_server().await;
        crash_newest(&mut world).await;
        world.wait(3).await;
        let found = world
            .store
            .find_deployment(deployment)
            .await
            .expect("asked");
        let state = found.expect("a deployment").state;
        assert!(matches!(state, DeploymentState::Failed { .. }), "{state:?}");
        assert_eq!(world.running(app)[0].2, old, "what served before serves on");
    });
}

#[test]
fn a_new_server_starts_what_is_new_at_once_and_waits_for_cells_with_what_is_older() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 3, 2).await;
        let (older, newer) = (world.apps[0], world.apps[1]);
        world.desire(older, 3).await;
        world.wait(5).await;
        let before = world.running(older);
        assert_eq!(before.len(), 3);
        let gone = before[0].0;
        world.kill_server();
        // Two orders that nobody was left to give.
        world.count(older, 2).await;
        world.cells[gone].is_linked = false;
        world.cells[gone].break_link();
        world.start_server().await;
        world.wait(2).await;
        let fleet = world.fleet();
        assert!(!fleet.is_settled());
        assert_eq!(fleet.counts().awaited_cells, 1);
        let mut told = Box::pin(fleet.inner.routes.follow());
        assert!(
            told.next().now_or_never().is_none(),
            "no router is told anything"
        );
        let ran = world.ran();
        world.desire(newer, 1).await;
        world.wait(5).await;
        assert_eq!(world.running(newer).len(), 1, "what is new starts at once");
        assert_eq!(world.ran(), ran + 1, "nothing that is older was started");
        assert_eq!(world.running(older), before, "nothing was stopped");
        world.wait(15).await;
        assert!(world.fleet().is_settled(), "the silent cell was given up");
        let first = told.next().now_or_never().flatten();
        assert!(
            matches!(first, Some(RouteMessage::Snapshot(_))),
            "{first:?}"
        );
        let now = world.running(older);
        let elsewhere = now
            .iter()
            .filter(|one| one.0 != gone && one.1 == before[0].1);
        assert_eq!(elsewhere.count(), 1, "its instance runs elsewhere: {now:?}");
        world.cells[gone].is_linked = true;
        world.wait(20).await;
        assert_eq!(world.running(older).len(), 2, "one an index again");
    });
}

#[test]
fn what_runs_on_cells_that_vanish_together_is_not_replaced_and_keeps_its_requests() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 8, 1).await;
        let app = world.apps[0];
        world.wait(5).await;
        assert_eq!(world.fleet().counts().cells, 8);
        world.desire(app, 8).await;
        world.wait(5).await;
        let before = world.running(app);
        assert_eq!(before.len(), 8);
        let ran = world.ran();
        // Each speaks its last word at another moment, as far apart as heartbeats may be.
        for cell in 0..4 {
            world.cells[cell].is_linked = false;
            world.wait(1).await;
        }
        world.wait(40).await;
        assert_eq!(world.fleet().counts().lost_cells, 4);
        assert_eq!(world.fleet().alarms().len(), 1);
        assert_eq!(world.ran(), ran);
        assert_eq!(endpoints(&world, app), 8, "they may well answer");
        for cell in 0..4 {
            world.cells[cell].is_linked = true;
            world.wait(1).await;
        }
        world.wait(30).await;
        assert!(world.fleet().alarms().is_empty());
        assert_eq!(world.running(app), before, "as if nothing had been");
        assert_eq!(world.ran(), ran);
        // This time they do not come back.
        for cell in 0..4 {
            world.cells[cell].kill();
        }
        world.wait(150).await;
        assert!(world.fleet().alarms().is_empty());
        let alive = world.running(app).iter().filter(|one| one.0 >= 4).count();
        assert_eq!(alive, 8, "all run on the others");
        assert_eq!(endpoints(&world, app), 8, "and requests go there alone");
    });
}

#[test]
fn a_lost_cell_serves_until_its_instances_run_elsewhere() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 1, 1).await;
        let app = world.apps[0];
        world.desire(app, 2).await;
        world.wait(5).await;
        world.cells[0].kill();
        world.wait(60).await;
        assert_eq!(world.fleet().counts().cells, 0);
        assert_eq!(
            endpoints(&world, app),
            2,
            "there is no other place for them"
        );
        world.count(app, 1).await;
        world.refresh(app).await;
        assert_eq!(
            endpoints(&world, app),
            1,
            "what is not wanted gets no requests"
        );
        world.cells.push(super::cell::Cell::new());
        world.wait(10).await;
        let running = world.running(app);
        let (_, _, instance, _) = *running.iter().find(|one| one.0 == 1).expect("it runs");
        let told = world.fleet().state().endpoints(app);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].1.instance, instance);
    });
}

#[test]
fn a_copied_cell_is_refused_while_the_other_speaks() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 2, 1).await;
        let app = world.apps[0];
        world.desire(app, 1).await;
        world.wait(5).await;
        let (first, _, instance, _) = world.running(app)[0];
        let other = 1 - first;
        // The same disk on another host, with nothing of what runs on the first.
        let id = world.cells[first].id;
        world.cells[other].lose_disk();
        world.cells[other].id = id;
        world.cells[other].incarnation = Incarnation::random();
        let ran = world.ran();
        world.wait(30).await;
        assert_eq!(world.running(app)[0].2, instance);
        assert_eq!(
            world.ran(),
            ran,
            "the copy does not make its original's instances lost"
        );
        // The first one dies: then the copy is the cell.
        world.cells[first].kill();
        world.wait(30).await;
        let alive = world.running(app);
        assert!(alive.iter().any(|one| one.0 == other), "{alive:?}");
    });
}

#[test]
fn an_order_without_an_answer_leads_to_a_new_report() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 1, 1).await;
        world.wait(5).await;
        let sessions = world.cells[0].seen.sessions;
        world.cells[0].lose_next_orders();
        world.desire(world.apps[0], 1).await;
        world.wait(10).await;
        assert_eq!(world.cells[0].seen.sessions, sessions);
        world.wait(20).await;
        assert_eq!(world.cells[0].seen.sessions, sessions + 1);
        assert_eq!(world.running(world.apps[0]).len(), 1);
    });
}

#[test]
fn a_build_runs_at_most_once_whatever_is_killed() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 1, 1).await;
        world.wait(2).await;
        // Placed in the database, and the order is lost with the server.
        world.cells[0].lose_next_orders();
        world.build().await;
        world.wait(1).await;
        world.kill_server();
        world.start_server().await;
        world.wait(20).await;
        let build = world.store.find_build_by_task(world.tasks[0]).await;
        let build = build.expect("asked").expect("a build");
        assert!(world.cells[0].seen.staged.is_empty(), "it may have run");
        assert!(
            matches!(build.state, store::records::BuildState::Failed { .. }),
            "{build:?}"
        );
        // Begun, and then the host goes.
        world.build().await;
        world.wait(1).await;
        assert_eq!(world.cells[0].seen.staged.len(), 1);
        world.cells[0].reboot();
        world.wait(20).await;
        assert_eq!(world.cells[0].seen.staged.len(), 1);
        let build = world.store.find_build_by_task(world.tasks[1]).await;
        let build = build.expect("asked").expect("a build");
        assert!(
            matches!(build.state, store::records::BuildState::Failed { .. }),
            "{build:?}"
        );
    });
}

#[test]
fn what_is_committed_without_a_word_to_the_driver_comes_true_all_the_same() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 1, 4).await;
        let [stopped, started, scaled, deployed] = world.apps[..] else {
            panic!("four apps");
        };
        for app in [stopped, scaled, deployed] {
            world.desire(app, 1).await;
        }
        world.wait(5).await;
        assert_eq!(world.cells[0].running().count(), 3);
        // Whoever asked is cut off after the commit.
        let deaf = world.server.take();
        world.store.undesire_app(stopped).await.expect("stopped");
        world.desire(started, 1).await;
        world.count(scaled, 3).await;
        let deployment = world.deploy(deployed, 1).await;
        world.build().await;
        world.server = deaf;
        world.wait(45).await;
        let count = |app| world.running(app).len();
        assert_eq!(
            [stopped, started, scaled, deployed].map(count),
            [0, 1, 3, 1]
        );
        let found = world.store.find_deployment(deployment).await;
        let state = found.expect("asked").expect("a deployment").state;
        assert_eq!(state, DeploymentState::Deployed);
        assert_eq!(world.cells[0].seen.staged.len(), 1);
        let (ran, orders) = (world.ran(), world.cells[0].seen.orders.len());
        world.wait(65).await;
        assert_eq!(world.ran(), ran, "what has not changed is left alone");
        assert_eq!(world.cells[0].seen.orders.len(), orders);
    });
}

#[test]
fn a_build_on_a_lost_cell_ends_also_when_the_server_was_killed_in_between() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 1, 1).await;
        world.wait(2).await;
        world.build().await;
        world.wait(1).await;
        assert_eq!(world.cells[0].seen.staged.len(), 1);
        world.cells[0].kill();
        world.kill_server();
        let lost = world.store.lose_cell(world.cells[0].id);
        lost.await.expect("lost");
        world.start_server().await;
        world.wait(5).await;
        let build = world.store.find_build_by_task(world.tasks[0]).await;
        let build = build.expect("asked").expect("a build");
        assert!(
            matches!(build.state, store::records::BuildState::Failed { .. }),
            "{build:?}"
        );
    });
}

#[test]
fn orders_carry_their_epoch_and_an_older_server_is_not_obeyed() {
    on_virtual_time(async {
        let mut world = World::with_cells(1, 1, 1).await;
        world.wait(2).await;
        let old = world.server.take().expect("a server");
        world.start_server().await;
        world.cells[0].break_link();
        world.wait(3).await;
        let epoch = world.fleet().epoch();
        assert!(epoch > old.fleet.epoch());
        // The old one is still there, and is offered the cell again.
        let new = world.server.replace(old);
        world.cells[0].break_link();
        let sessions = world.cells[0].seen.sessions;
        world.desire(world.apps[0], 1).await;
        world.wait(20).await;
        assert_eq!(world.cells[0].seen.sessions, sessions, "it is refused");
        let runs = |order: &(Instant, OrderBody)| matches!(order.1, OrderBody::Run(_));
        assert!(!world.cells[0].seen.orders.iter().any(runs));
        world.server = new;
        world.refresh(world.apps[0]).await;
        world.wait(5).await;
        assert_eq!(world.running(world.apps[0]).len(), 1);
    });
}
