//! Agents, servers and hosts that come and go.

use cells_engine::Engine;
use cells_engine::fake::{Behaviour, FakeExit, OnTerminate};
use model::health::HealthCheckKind;
use model::ids::InstanceId;
use model::instance::{ExitReason, InstanceState};
use model::protocol::cell::OrderBody;

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
    let mut stranger = world.engine.started()[0].clone();
    stranger.name = "stranger".into();
    world.stop().await;
    container.exit_now(FakeExit {
        status: 3,
        oom_killed: false,
    });
    world.engine.start(stranger).await.unwrap();

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
    assert_eq!(world.engine.started().len(), 4, "nothing was started again");
    super::world::eventually(|| world.engine.names() == [lives.to_string()]).await;
    session.accepted(OrderBody::Stop { instance: lives }).await;
    session.exit_of(lives).await;
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

#[tokio::test(start_paused = true)]
async fn a_reboot_loses_instances_and_makes_a_new_incarnation() {
    let mut world = World::new();
    let mut session = world.start().await;
    let lost = running(&world, &mut session).await;
    let before = session.hello.clone().unwrap();
    world.stop().await;
    let file = world.path("cell.json");
    let mut identity: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    identity["boot_id"] = "the boot before".into();
    std::fs::write(&file, identity.to_string()).unwrap();

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
