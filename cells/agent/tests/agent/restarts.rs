//! Agents, servers and hosts that come and go.

use std::time::Duration;

use cells_agent::Agent;
use cells_engine::fake::{Behaviour, FakeExit, OnTerminate};
use cells_engine::{Container as _, Engine};
use model::health::HealthCheckKind;
use model::ids::InstanceId;
use model::instance::{ExitReason, InstanceState};
use model::limits::Megabytes;
use model::protocol::cell::{CellMessage, HEARTBEAT, OrderBody};
use model::task::TaskOutcome;
use tokio_util::sync::CancellationToken;

use super::session::Session;
use super::world::World;

async fn running(world: &World, session: &mut Session) -> InstanceId {
    let spec = world.instance(session, HealthCheckKind::Process);
    session
        .accepted(OrderBody::Run(Box::new(spec.clone())))
        .await;
    session
        .instance_state(spec.instance, |state| {
            matches!(state, InstanceState::Running { .. }).then_some(())
        })
        .await;
    spec.instance
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_adopts_what_runs_and_reports_what_ended_meanwhile() {
    let mut world = World::new();
    world.engine.script_all(Behaviour {
        on_terminate: OnTerminate::Ignore,
        ..Behaviour::default()
    });
    let mut session = world.start().await;
    let lives = running(&world, &mut session).await;
    let ends = running(&world, &mut session).await;
    let stops = running(&world, &mut session).await;
    session.accepted(OrderBody::Stop { instance: stops }).await;
    let container = world.engine.container(&ends.to_string()).unwrap();
    world.stop().await;
    container.exit_now(FakeExit {
        status: 3,
        oom_killed: false,
    });

    let mut session = world.start().await;
    assert_eq!(session.instances.len(), 3);
    let exit = session.exit_of(ends).await;
    assert_eq!((exit.reason, exit.status), (ExitReason::Exited, Some(3)));
    let exit = session.exit_of(stops).await;
    assert_eq!(
        (exit.reason, exit.status),
        (ExitReason::Stopped, Some(137)),
        "the stop goes on"
    );
    assert_eq!(world.engine.started().len(), 3, "nothing was started again");
    super::world::eventually(|| world.engine.names() == [lives.to_string()]).await;
    session.accepted(OrderBody::Stop { instance: lives }).await;
    session.exit_of(lives).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_the_ledger_does_not_know_is_reported_and_goes_only_when_the_leader_says_so()
 {
    let mut world = World::new();
    let mut session = world.start().await;
    let lives = running(&world, &mut session).await;
    world.stop().await;
    let mut stranger = world.engine.started()[0].clone();
    stranger.name = "stranger".into();
    stranger.dir = world.path("containers/stranger");
    std::fs::create_dir_all(&stranger.dir).unwrap();
    world.engine.script(
        "stranger",
        Behaviour {
            removals_fail: 1,
            removal_takes: Duration::from_secs(60),
            ..Behaviour::default()
        },
    );
    let container = world.engine.start(stranger).await.unwrap();

    let mut session = world.start().await;
    assert_eq!(session.strangers, ["stranger"]);
    let reap = |container: &str| OrderBody::Reap {
        container: container.into(),
    };
    session.accepted(reap(&lives.to_string())).await;
    assert_eq!(world.engine.names().len(), 2, "only strangers are reaped");
    session.epoch += 1;
    session.accepted(reap("unheard-of")).await;
    session.epoch -= 1;
    session.order(reap("stranger")).await.unwrap_err();
    assert_eq!(world.engine.names().len(), 2, "an old leader is not obeyed");
    drop(session);
    let mut session = world.session().await;
    assert_eq!(
        session.strangers,
        ["stranger"],
        "it is reported until it is gone"
    );
    session.epoch += 2;
    let begun = tokio::time::Instant::now();
    session.accepted(reap("stranger")).await;
    session.accepted(reap("stranger")).await;
    assert_eq!(
        begun.elapsed().as_secs(),
        0,
        "other orders do not wait for it"
    );
    drop(session);
    let session = world.session().await;
    assert_eq!(
        session.strangers,
        ["stranger"],
        "it is reported until it is gone"
    );
    super::world::eventually(|| world.engine.names() == [lives.to_string()]).await;
    super::world::eventually(|| !world.path("containers/stranger").exists()).await;
    assert_eq!(container.removals(), 2, "one removal at a time");
    drop(session);
    assert!(world.session().await.strangers.is_empty());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_on_disk() {
    let mut world = World::new();
    let mut session = world.start().await;
    let spec = world.instance(&session, HealthCheckKind::Process);
    let file = world.path(format!("instances/{}.json", spec.instance));
    session
        .accepted(OrderBody::Run(Box::new(spec.clone())))
        .await;
    assert!(file.exists());
    let stop = OrderBody::Stop {
        instance: spec.instance,
    };
    session.accepted(stop.clone()).await;
    let record = std::fs::read_to_string(&file).unwrap();
    assert!(!record.contains("starting"), "{record}");
    session.exit_of(spec.instance).await;
    let forget = OrderBody::ForgetInstance {
        instance: spec.instance,
    };
    session.accepted(forget.clone()).await;
    assert!(!file.exists());
    // All of it may come again; the same order starts nothing a second time.
    session.seq -= 3;
    session.accepted(OrderBody::Run(Box::new(spec))).await;
    assert!(world.engine.names().is_empty() && !file.exists());
    session.seq += 2;
    session.accepted(stop).await;
    session.accepted(forget).await;
    assert!(!file.exists());
    // A gap says that an order was lost: a new session tells what is.
    session.seq += 1;
    session
        .send(OrderBody::Stop {
            instance: InstanceId::random(),
        })
        .await;
    let session = world.session().await;
    assert!(session.instances.is_empty());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_session_begins_with_a_full_report() {
    let mut world = World::new();
    let mut session = world.start().await;
    let first = running(&world, &mut session).await;
    drop(session);
    let mut session = world.session().await;
    assert_eq!(
        session
            .instances
            .iter()
            .map(|report| report.instance)
            .collect::<Vec<_>>(),
        [first]
    );
    assert!(matches!(
        session.instances[0].state,
        InstanceState::Running { .. }
    ));
    running(&world, &mut session).await;
    world.stop().await;
}

/// Lets the ledger be of an earlier start of the host.
fn boot(world: &World) {
    let file = world.path("cell.json");
    let mut identity: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    identity["boot_id"] = "the boot before".into();
    std::fs::write(&file, identity.to_string()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reboot_loses_instances_and_makes_a_new_incarnation() {
    let mut world = World::new();
    let mut session = world.start().await;
    let lost = running(&world, &mut session).await;
    let before = session.hello.clone().unwrap();
    world.stop().await;
    boot(&world);

    let session = world.start().await;
    let after = session.hello.as_ref().unwrap();
    assert_eq!(after.cell, before.cell);
    let InstanceState::Exited { exit } = &session.instances[0].state else {
        panic!("{:?}", session.instances)
    };
    assert!(matches!(exit.reason, ExitReason::Lost { .. }), "{exit:?}");
    assert_eq!(session.instances[0].instance, lost);
    world.stop().await;
}

/// A disk to which nobody else writes meanwhile.
struct OwnDisk(std::path::PathBuf);

impl OwnDisk {
    fn at(folder: &std::path::Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2G", "tmpfs"])
            .arg(folder)
            .status();
        assert!(mounted.unwrap().success());
        Self(folder.to_owned())
    }
}

impl Drop for OwnDisk {
    fn drop(&mut self) {
        // Lazily, for the agent of a test that has failed.
        let unmount = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status();
        assert!(std::thread::panicking() || unmount.unwrap().success());
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_offers_what_it_offered_before_whatever_its_containers_have_written() {
    const WRITTEN_MB: u32 = 128;
    let mut world = World::new();
    world.config.capacity = None;
    let _disk = OwnDisk::at(&world.config.data);
    let mut session = world.start().await;
    let id = running(&world, &mut session).await;
    let before = session.hello.clone().unwrap().capacity.disk.0;
    let wrote = std::process::Command::new("fallocate")
        .args(["--length", &format!("{WRITTEN_MB}MiB")])
        .arg(world.path(format!("containers/{id}/scratch.img")))
        .status();
    assert!(wrote.unwrap().success());
    world.stop().await;

    let session = world.start().await;
    let after = session.hello.as_ref().unwrap().capacity.disk.0;
    assert!(
        before.abs_diff(after) < WRITTEN_MB / 2,
        "{before} MiB, then {after} MiB"
    );
    world.stop().await;
}

/// A world with two layers on its cell: one that an instance stands on, and one that nothing uses.
async fn with_layers(world: &mut World) -> [std::path::PathBuf; 2] {
    let mut session = world.start().await;
    let mut folders = Vec::new();
    for (name, stays) in [("used", true), ("unused", false)] {
        let mut spec = world.instance(&session, HealthCheckKind::Process);
        spec.layers = vec![world.stored_layer(name)];
        let id = spec.instance;
        folders.push(world.path(format!("layers/{}", spec.layers[0].diff_id.hex())));
        session.accepted(OrderBody::Run(Box::new(spec))).await;
        session.all_run([id]).await;
        if !stays {
            session.accepted(OrderBody::Stop { instance: id }).await;
            session.exit_of(id).await;
            let forget = OrderBody::ForgetInstance { instance: id };
            session.accepted(forget).await;
            super::world::eventually(|| world.engine.names().len() == 1).await;
        }
    }
    world.stop().await;
    folders.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_an_agent_first_removes_what_nothing_uses_and_takes_over_what_runs() {
    let mut world = World::new();
    let [used, unused] = with_layers(&mut world).await;
    assert!(used.exists() && unused.exists());
    world.config.min_free_disk = Some(Megabytes(u32::MAX));
    let session = world.start().await;
    assert!(!unused.exists() && used.exists());
    assert!(matches!(
        session.instances[0].state,
        InstanceState::Running { .. }
    ));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(used.exists(), "its container stands on it");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cell_that_begins_anew_trusts_no_layer_that_the_disk_may_have_lost_and_leaves_the_rest_to_what_runs()
 {
    let mut world = World::new();
    let [used, other] = with_layers(&mut world).await;
    super::world::eventually(|| used.join("synced").exists()).await;
    std::fs::remove_file(other.join("synced")).unwrap();
    std::fs::write(world.path("cell.json"), "").unwrap();
    world.config.min_free_disk = Some(Megabytes(u32::MAX));
    let mut session = world.start().await;
    let [stranger] = session.strangers.clone().try_into().unwrap();
    assert!(!other.exists(), "it may be half written");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(used.exists(), "the stranger may stand on it");
    let reap = OrderBody::Reap {
        container: stranger,
    };
    session.accepted(reap).await;
    super::world::eventually(|| !used.exists()).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_makes_room_before_it_writes_anything() {
    let mut world = World::new();
    let [_, unused] = with_layers(&mut world).await;
    world.config.min_free_disk = Some(Megabytes(u32::MAX));
    boot(&world);
    // As good as a full disk for the first file that is written.
    std::fs::create_dir(world.path("cell.json.new")).unwrap();
    let agent = Agent::new(world.config.clone(), world.engine.clone());
    agent.run(CancellationToken::new()).await.unwrap_err();
    assert!(!unused.exists());
    std::fs::remove_dir(world.path("cell.json.new")).unwrap();
    let session = world.start().await;
    let InstanceState::Exited { exit } = &session.instances[0].state else {
        panic!("{:?}", session.instances)
    };
    assert!(
        matches!(exit.reason, ExitReason::Lost { .. }),
        "the start that failed has hidden nothing: {exit:?}"
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_taken_over_and_what_ended_is_told_where_the_disk_takes_no_logs() {
    let mut world = World::new();
    let mut session = world.start().await;
    let lives = running(&world, &mut session).await;
    let gone = running(&world, &mut session).await;
    let task = world.task(&session);
    let id = task.task;
    session.accepted(OrderBody::RunTask(Box::new(task))).await;
    session.started(id).await;
    super::world::eventually(|| world.engine.names().len() == 3).await;
    world.stop().await;
    let remove = |name: String| world.engine.container(&name).unwrap();
    remove(gone.to_string()).remove().await.unwrap();
    remove(id.to_string()).remove().await.unwrap();
    for app in std::fs::read_dir(world.path("logs")).unwrap() {
        let folder = app.unwrap().path();
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "no folder").unwrap();
    }

    let mut session = world.start().await;
    let exit = session.exit_of(gone).await;
    assert!(matches!(exit.reason, ExitReason::Lost { .. }), "{exit:?}");
    let outcome = session.outcome(id).await;
    assert!(matches!(outcome, TaskOutcome::Ran { .. }), "{outcome:?}");
    session.accepted(OrderBody::Stop { instance: lives }).await;
    assert_eq!(session.exit_of(lives).await.reason, ExitReason::Stopped);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_server_waits_for_it() {
    let mut world = World::new();
    let mut session = world.start().await;
    let id = running(&world, &mut session).await;
    let container = world.engine.container(&id.to_string()).unwrap();
    drop(session);
    container.exit_now(FakeExit {
        status: 1,
        oom_killed: false,
    });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let session = world.session().await;
    assert_eq!(session.instances.len(), 1);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn walls_that_somebody_took_down_are_put_up_without_a_start() {
    let mut world = World::new();
    let mut session = world.start().await;
    running(&world, &mut session).await;
    for _ in 0..2 {
        world.engine.take_walls_down();
        super::world::eventually(|| !world.engine.walls_are_down()).await;
    }
    assert_eq!(world.engine.started().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_long_for_an_order_does_not_make_the_cell_silent() {
    let mut world = World::new();
    let mut session = world.start().await;
    // A new epoch goes to disk first, and whoever opens a pipe to write waits for a reader.
    session.epoch += 1;
    let slow = world.path("cell.json.new");
    let made = std::process::Command::new("mkfifo").arg(&slow).status();
    assert!(made.unwrap().success());
    let order = OrderBody::Stop {
        instance: InstanceId::random(),
    };
    let seq = session.send(order).await;
    for _ in 0..3 {
        // Time does not pass by itself while a thread waits for the disk.
        tokio::time::advance(HEARTBEAT).await;
        let message = session.read().await;
        assert!(
            matches!(message, CellMessage::Heartbeat { .. }),
            "{message:?}"
        );
    }
    let written = tokio::task::spawn_blocking(move || std::fs::read(slow));
    assert!(!written.await.unwrap().unwrap().is_empty());
    // A pipe cannot be synced, so the order is refused in the end; what counts is that it was answered.
    loop {
        match session.read().await {
            CellMessage::Refused { seq: of, .. } if of == seq => break,
            CellMessage::Heartbeat { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_which_a_part_fails_ends_and_the_next_one_takes_over() {
    let mut world = World::new();
    let mut session = world.start().await;
    let id = running(&world, &mut session).await;
    world.engine.get_a_defect();
    let error = format!("{:#}", world.failed().await);
    assert!(error.contains("the guard of the walls"), "{error}");
    assert_eq!(world.engine.names(), [id.to_string()]);
    drop(session);
    let session = world.start().await;
    assert!(matches!(
        session.instances[0].state,
        InstanceState::Running { .. }
    ));
    world.stop().await;
}
