//! The life of one-off tasks.

use std::time::Duration;

use cells_engine::fake::{Behaviour, FakeExit, OnTerminate};
use cells_engine::{Container as _, Signal, Usage};
use model::instance::{Exit, ExitReason};
use model::protocol::cell::{OrderBody, TaskSpec};
use model::task::{TaskOutcome, TaskState};

use super::session::Session;
use super::world::{World, eventually};

fn exit(status: i32) -> FakeExit {
    FakeExit {
        status,
        oom_killed: false,
    }
}

async fn order(session: &mut Session, spec: &TaskSpec) {
    session
        .accepted(OrderBody::RunTask(Box::new(spec.clone())))
        .await;
}

async fn begin(world: &World, session: &mut Session) -> TaskSpec {
    let spec = world.task(session);
    order(session, &spec).await;
    session.started(spec.task).await;
    eventually(|| world.engine.container(&spec.task.to_string()).is_some()).await;
    spec
}

fn end(world: &World, spec: &TaskSpec, exit: FakeExit) {
    world
        .engine
        .container(&spec.task.to_string())
        .unwrap()
        .exit_now(exit);
}

async fn ran(session: &mut Session, spec: &TaskSpec) -> Exit {
    match session.outcome(spec.task).await {
        TaskOutcome::Ran { exit } => exit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_runs_its_command_over_the_droplet_and_keeps_its_result_until_it_is_forgotten() {
    let mut world = World::new();
    world.engine.script_all(Behaviour {
        output: vec![('O', "migrated".into())],
        ..Behaviour::default()
    });
    let mut session = world.start().await;
    let spec = TaskSpec {
        layers: vec![world.stored_layer("app.jar")],
        ..world.task(&session)
    };
    order(&mut session, &spec).await;
    order(&mut session, &spec).await;
    session.started(spec.task).await;
    eventually(|| world.engine.container(&spec.task.to_string()).is_some()).await;
    let started = &world.engine.started()[0];
    assert_eq!(started.layers.len(), 1);
    assert_eq!(started.args[1..3], ["lifecycle", "launch"]);
    assert_eq!(started.args.last().unwrap(), "rake db:migrate");
    for (name, want) in [
        ("MONGODB_URI", Some("mongodb://u:hunter2@db/x".to_owned())),
        ("CF_INSTANCE_GUID", Some(spec.task.to_string())),
        ("CF_INSTANCE_IP", Some("127.0.0.1".into())),
        ("MEMORY_LIMIT", Some("64m".into())),
        ("USER", Some("vcap".into())),
        ("PORT", None),
        ("VCAP_APP_PORT", None),
        ("CF_INSTANCE_PORT", None),
    ] {
        assert_eq!(started.env.get(name).map(str::to_owned), want, "{name}");
    }
    let ledger = std::fs::read_to_string(world.path(format!("tasks/{}.json", spec.task))).unwrap();
    assert!(
        !ledger.contains("hunter2") && !ledger.contains("rake"),
        "{ledger}"
    );

    end(&world, &spec, exit(0));
    let told = ran(&mut session, &spec).await;
    assert_eq!((told.reason, told.status), (ExitReason::Exited, Some(0)));
    eventually(|| world.engine.names().is_empty()).await;
    let lines = world.logs(&mut session, spec.app).await;
    let output = lines.iter().find(|line| line.bytes == b"migrated").unwrap();
    assert_eq!(
        (output.source.to_string().as_str(), output.index),
        ("APP/TASK/migrate", 7)
    );
    let mut notes = lines
        .iter()
        .filter(|line| line.source.to_string() == "CELL");
    let last = notes.next_back().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&last.bytes),
        "Task migrate: Exit status 0"
    );
    world.stop().await;

    let mut session = world.start().await;
    assert!(matches!(session.tasks[0].state, TaskState::Done { .. }));
    session
        .accepted(OrderBody::ForgetTask { task: spec.task })
        .await;
    world.stop().await;
    assert!(world.start().await.tasks.is_empty());
    assert_eq!(world.engine.started().len(), 1);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ends_of_a_task_are_told_apart() {
    let mut world = World::new();
    let mut session = world.start().await;

    let spec = begin(&world, &mut session).await;
    end(&world, &spec, exit(3));
    let told = ran(&mut session, &spec).await;
    assert_eq!((told.reason, told.status), (ExitReason::Exited, Some(3)));

    let spec = begin(&world, &mut session).await;
    let oom_killed = FakeExit {
        status: 137,
        oom_killed: true,
    };
    end(&world, &spec, oom_killed);
    let told = ran(&mut session, &spec).await;
    assert!(matches!(
        told.reason,
        ExitReason::OutOfMemory { limit_bytes, .. } if limit_bytes == 64 << 20
    ));

    world.engine.script_all(Behaviour {
        usage: Usage {
            disk_bytes: 2 << 30,
            ..Usage::default()
        },
        ..Behaviour::default()
    });
    let spec = world.task(&session);
    order(&mut session, &spec).await;
    let told = ran(&mut session, &spec).await;
    assert!(
        matches!(told.reason, ExitReason::OutOfDisk { used_bytes, .. } if used_bytes == 2 << 30)
    );

    world.engine.script_all(Behaviour {
        refuse_start: Some("no cgroup".into()),
        ..Behaviour::default()
    });
    let spec = world.task(&session);
    order(&mut session, &spec).await;
    let told = ran(&mut session, &spec).await;
    assert!(
        matches!(&told.reason, ExitReason::NotStarted { message } if message.contains("no cgroup"))
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_task_gets_a_chance_to_end_also_from_the_next_agent() {
    let mut world = World::new();
    world.engine.script_all(Behaviour {
        on_terminate: OnTerminate::Ignore,
        ..Behaviour::default()
    });
    let mut session = world.start().await;
    let spec = begin(&world, &mut session).await;
    let container = world.engine.container(&spec.task.to_string()).unwrap();
    let before = tokio::time::Instant::now();
    session
        .accepted(OrderBody::CancelTask { task: spec.task })
        .await;
    assert_eq!(session.outcome(spec.task).await, TaskOutcome::Cancelled);
    assert_eq!(before.elapsed().as_secs(), 10);
    assert_eq!(container.signals(), [Signal::Terminate, Signal::Kill]);

    let spec = begin(&world, &mut session).await;
    session
        .accepted(OrderBody::CancelTask { task: spec.task })
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.stop().await;
    end(&world, &spec, exit(143));
    let mut session = world.start().await;
    assert_eq!(
        session.outcome(spec.task).await,
        TaskOutcome::Cancelled,
        "the earlier agent had promised to end it"
    );
    let unknown = model::ids::TaskId::random();
    session
        .accepted(OrderBody::CancelTask { task: unknown })
        .await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_goes_on_with_what_runs_and_begins_nothing_again() {
    let mut world = World::new();
    let mut session = world.start().await;
    let lives = begin(&world, &mut session).await;
    let ends = begin(&world, &mut session).await;
    let vanishes = begin(&world, &mut session).await;
    world.stop().await;
    end(&world, &ends, exit(4));
    let container = world.engine.container(&vanishes.task.to_string()).unwrap();
    container.remove().await.unwrap();

    let mut session = world.start().await;
    assert_eq!(session.tasks.len(), 3);
    let report = session
        .tasks
        .iter()
        .find(|report| report.task == vanishes.task)
        .unwrap();
    let TaskState::Done {
        outcome: TaskOutcome::Ran { exit: lost },
    } = &report.state
    else {
        panic!("{report:?}")
    };
    assert!(
        matches!(&lost.reason, ExitReason::Lost { message } if message.contains("gone")),
        "{lost:?}"
    );
    assert_eq!(ran(&mut session, &ends).await.status, Some(4));
    // What was begun is in the ledger, so the same order again is no reason to begin anew.
    order(&mut session, &vanishes).await;
    end(&world, &lives, exit(0));
    assert_eq!(ran(&mut session, &lives).await.status, Some(0));
    assert_eq!(world.engine.started().len(), 3);
    eventually(|| world.engine.names().is_empty()).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cell_refuses_tasks_that_it_cannot_hold() {
    let mut world = World::new();
    let mut session = world.start().await;
    for _ in 0..10 {
        begin(&world, &mut session).await;
    }
    let spec = world.task(&session);
    let refusal = session
        .order(OrderBody::RunTask(Box::new(spec.clone())))
        .await
        .unwrap_err();
    assert!(refusal.contains("10 tasks"), "{refusal}");
    let foreign = TaskSpec {
        stack: model::droplet::Stack("host-other".into()),
        ..spec
    };
    let refusal = session
        .order(OrderBody::RunTask(Box::new(foreign)))
        .await
        .unwrap_err();
    assert!(refusal.contains("host-other"), "{refusal}");
    world.stop().await;
}
