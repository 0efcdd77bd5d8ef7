//! The life of instances.

use std::time::Duration;

use cells_engine::fake::{Behaviour, FakeExit, OnTerminate};
use cells_engine::{Signal, Usage};
use model::health::HealthCheckKind;
use model::instance::{ExitReason, InstanceState};
use model::limits::Megabytes;
use model::protocol::cell::{DiskLimit, OrderBody};
use tokio::time::Instant;

use super::world::{World, eventually};

fn run(spec: &model::protocol::cell::InstanceSpec) -> OrderBody {
    OrderBody::Run(Box::new(spec.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_healthy_instance_becomes_running_with_its_environment_and_layers() {
    let mut world = World::new();
    let usage = Usage {
        memory_bytes: 7,
        ..Usage::default()
    };
    world.engine.script_all(Behaviour {
        real_port: true,
        reachable_after: Some(Duration::from_secs(3)),
        usage,
        ..Behaviour::default()
    });
    let mut session = world.start().await;
    let mut spec = world.instance(&session, HealthCheckKind::Port);
    spec.layers = vec![world.stored_layer("lower"), world.stored_layer("upper")];
    let begun = Instant::now();
    session.accepted(run(&spec)).await;
    let address = session.instance_state(spec.instance, |state| match state {
        InstanceState::Running { address } => Some(*address),
        _ => None,
    });
    let address = address.await;
    assert!(
        (3..=4).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    let started = &world.engine.started()[0];
    let env = |name: &str| started.env.get(name).unwrap_or("unset").to_owned();
    let port = address.port().to_string();
    assert_eq!(
        [env("PORT"), env("VCAP_APP_PORT"), env("CF_INSTANCE_PORT")],
        [port.clone(), port.clone(), port.clone()]
    );
    assert_eq!(env("CF_INSTANCE_ADDR"), address.to_string());
    assert_eq!(
        [env("CF_INSTANCE_GUID"), env("CF_INSTANCE_INDEX")],
        [spec.instance.to_string(), "2".into()]
    );
    assert_eq!(env("MONGODB_URI"), "mongodb://u:hunter2@db/x");
    let application: serde_json::Value = serde_json::from_str(&env("VCAP_APPLICATION")).unwrap();
    assert_eq!(application["name"], "hello");
    assert_eq!(application["instance_id"], spec.instance.to_string());
    assert_eq!(
        (&application["instance_index"], &application["port"]),
        (&2.into(), &address.port().into())
    );
    assert_eq!(started.args[1..3], ["lifecycle", "launch"]);
    assert_eq!(started.args.last().unwrap(), "java -jar app.jar");
    let files: Vec<_> = started
        .layers
        .iter()
        .zip(["lower", "upper"])
        .map(|(layer, name)| layer.join("app").join(name))
        .collect();
    assert!(files.iter().all(|file| file.exists()), "{files:?}");
    assert_eq!(session.usage_of(spec.instance).await.memory_bytes, 7);
    let ledger =
        std::fs::read_to_string(world.path(format!("instances/{}.json", spec.instance))).unwrap();
    assert!(
        !ledger.contains("hunter2") && !ledger.contains("app.jar"),
        "no secrets on disk: {ledger}"
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_never_healthy_tells_what_it_listens_on() {
    let mut world = World::new();
    let mut session = world.start().await;
    let spec = world.instance(&session, HealthCheckKind::Port);
    let begun = Instant::now();
    session.accepted(run(&spec)).await;
    let exit = session.exit_of(spec.instance).await;
    assert!(
        (59..=61).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    let ExitReason::NeverHealthy {
        timeout_s: 60,
        check,
        listening,
    } = exit.reason
    else {
        panic!("{exit:?}")
    };
    assert!(check.contains("connection refused"), "{check}");
    assert_eq!(listening.len(), 1);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_reports_status_and_last_lines_and_stays_readable() {
    let mut world = World::new();
    let output = (0..30).map(|line| ('E', format!("line {line}"))).collect();
    let exits = Some((
        Duration::from_secs(5),
        FakeExit {
            status: 42,
            oom_killed: false,
        },
    ));
    world.engine.script_all(Behaviour {
        output,
        exits,
        ..Behaviour::default()
    });
    let mut session = world.start().await;
    let spec = world.instance(&session, HealthCheckKind::Process);
    session.accepted(run(&spec)).await;
    let exit = session.exit_of(spec.instance).await;
    assert_eq!(
        (exit.reason, exit.status, exit.ran_ms),
        (ExitReason::Exited, Some(42), 5000)
    );
    assert_eq!(
        (exit.last_lines.len(), exit.last_lines[19].as_str()),
        (20, "line 29")
    );
    session
        .accepted(OrderBody::ForgetInstance {
            instance: spec.instance,
        })
        .await;
    let folder = world.path(format!("containers/{}", spec.instance));
    eventually(|| !folder.exists()).await;
    let lines = world.logs(&mut session, spec.app).await;
    let text = |line: &model::log::LogLine| {
        format!(
            "{}/{} {}",
            line.source,
            line.index,
            String::from_utf8_lossy(&line.bytes)
        )
    };
    let lines: Vec<_> = lines.iter().map(text).collect();
    assert!(
        lines.contains(&"APP/PROC/WEB/2 line 29".to_owned()),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"CELL/2 Container became healthy".to_owned()),
        "{lines:?}"
    );
    assert_eq!(lines.last().unwrap(), "CELL/2 Exit status 42");
    world.stop().await;
    assert!(
        world.start().await.instances.is_empty(),
        "a forgotten instance is reported no more"
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn memory_and_disk_limits_are_the_reason_of_an_end() {
    let mut world = World::new();
    let mut session = world.start().await;
    let spec = world.instance(&session, HealthCheckKind::Process);
    let exits = Some((
        Duration::from_secs(5),
        FakeExit {
            status: 137,
            oom_killed: true,
        },
    ));
    let usage = Usage {
        memory_bytes: 600,
        ..Usage::default()
    };
    world.engine.script(
        &spec.instance.to_string(),
        Behaviour {
            exits,
            usage,
            ..Behaviour::default()
        },
    );
    session.accepted(run(&spec)).await;
    let exit = session.exit_of(spec.instance).await;
    assert_eq!(
        exit.reason,
        ExitReason::OutOfMemory {
            limit_bytes: 512 << 20,
            peak_bytes: 600
        }
    );

    let spec = world.instance(&session, HealthCheckKind::Process);
    let usage = Usage {
        disk_bytes: 2 << 30,
        ..Usage::default()
    };
    world.engine.script(
        &spec.instance.to_string(),
        Behaviour {
            usage,
            ..Behaviour::default()
        },
    );
    session.accepted(run(&spec)).await;
    let exit = session.exit_of(spec.instance).await;
    assert_eq!(
        exit.reason,
        ExitReason::OutOfDisk {
            limit_bytes: 1 << 30,
            used_bytes: 2 << 30
        }
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_of_its_own_ends_nobody_and_explains_an_end() {
    let mut world = World::new();
    world.engine.limit_disks(DiskLimit::Hard);
    let mut session = world.start().await;
    let full = Usage {
        disk_bytes: (1 << 30) + 4096,
        disk_full: true,
        ..Usage::default()
    };
    for (status, reason) in [
        (
            1,
            ExitReason::OutOfDisk {
                limit_bytes: 1 << 30,
                used_bytes: 1 << 30,
            },
        ),
        (0, ExitReason::Exited),
    ] {
        let spec = world.instance(&session, HealthCheckKind::Process);
        let exit = FakeExit {
            status,
            oom_killed: false,
        };
        world.engine.script(
            &spec.instance.to_string(),
            Behaviour {
                exits: Some((Duration::from_secs(60), exit)),
                usage: full,
                ..Behaviour::default()
            },
        );
        session.accepted(run(&spec)).await;
        let exit = session.exit_of(spec.instance).await;
        assert_eq!((exit.status, exit.reason), (Some(status), reason));
        let lines = world.logs(&mut session, spec.app).await;
        let told = |line: &&model::log::LogLine| {
            String::from_utf8_lossy(&line.bytes).contains("has filled its disk of 1024 MiB")
        };
        assert_eq!(lines.iter().filter(told).count(), 1, "{lines:?}");
    }
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_cell_short_of_disk_begins_nothing_and_says_how_much_is_free() {
    let mut world = World::new();
    world.config.min_free_disk = Some(Megabytes(u32::MAX));
    let mut session = world.start().await;
    let spec = world.instance(&session, HealthCheckKind::Process);
    let refused = session.order(run(&spec)).await.unwrap_err();
    assert!(refused.contains("begins nothing new"), "{refused}");
    let build = OrderBody::Stage(Box::new(world.build()));
    let refused = session.order(build).await.unwrap_err();
    assert!(refused.contains("free"), "{refused}");
    assert!(world.engine.names().is_empty());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_grace_time_and_then_kills() {
    let mut world = World::new();
    world.engine.script_all(Behaviour {
        on_terminate: OnTerminate::Ignore,
        ..Behaviour::default()
    });
    let mut session = world.start().await;
    let spec = world.instance(&session, HealthCheckKind::Process);
    session.accepted(run(&spec)).await;
    session
        .instance_state(spec.instance, |state| {
            matches!(state, InstanceState::Running { .. }).then_some(())
        })
        .await;
    let container = world.engine.container(&spec.instance.to_string()).unwrap();
    let begun = Instant::now();
    session
        .accepted(OrderBody::Stop {
            instance: spec.instance,
        })
        .await;
    session
        .instance_state(spec.instance, |state| {
            matches!(state, InstanceState::Stopping).then_some(())
        })
        .await;
    let early = session
        .order(OrderBody::ForgetInstance {
            instance: spec.instance,
        })
        .await;
    assert!(early.unwrap_err().contains("has not ended"));
    let exit = session.exit_of(spec.instance).await;
    assert_eq!((exit.reason, exit.status), (ExitReason::Stopped, Some(137)));
    assert_eq!(container.signals(), [Signal::Terminate, Signal::Kill]);
    // One second for routers to let go of it, then the grace time.
    assert_eq!(begun.elapsed().as_secs(), 11);
    eventually(|| world.engine.names().is_empty()).await;
    session
        .accepted(OrderBody::Stop {
            instance: spec.instance,
        })
        .await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_sent_twice_starts_once_and_a_lower_epoch_starts_nothing() {
    let mut world = World::new();
    let mut session = world.start().await;
    let spec = world.instance(&session, HealthCheckKind::Process);
    session.accepted(run(&spec)).await;
    session.accepted(run(&spec)).await;
    session
        .instance_state(spec.instance, |state| {
            matches!(state, InstanceState::Running { .. }).then_some(())
        })
        .await;
    session.epoch = 4;
    let late = world.instance(&session, HealthCheckKind::Process);
    let refused = session.order(run(&late)).await.unwrap_err();
    assert!(refused.contains("epoch 4 is over"), "{refused}");
    assert_eq!(world.engine.started().len(), 1);
    world.stop().await;
    assert_eq!(world.start().await.hello.unwrap().epoch_seen, 5);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_start_says_why() {
    let mut world = World::new();
    world.engine.script_all(Behaviour {
        refuse_start: Some("no network".into()),
        ..Behaviour::default()
    });
    let mut session = world.start().await;
    let spec = world.instance(&session, HealthCheckKind::Process);
    session.accepted(run(&spec)).await;
    let exit = session.exit_of(spec.instance).await;
    let ExitReason::NotStarted { message } = exit.reason else {
        panic!("{exit:?}")
    };
    assert!(message.contains("no network"), "{message}");

    let mut spec = world.instance(&session, HealthCheckKind::Process);
    spec.layers = vec![super::world::pack("missing").0];
    session.accepted(run(&spec)).await;
    let exit = session.exit_of(spec.instance).await;
    let ExitReason::NotStarted { message } = exit.reason else {
        panic!("{exit:?}")
    };
    assert!(message.contains("404"), "{message}");

    let mut foreign = world.instance(&session, HealthCheckKind::Process);
    foreign.stack = model::droplet::Stack("host-other".into());
    assert!(
        session
            .order(run(&foreign))
            .await
            .unwrap_err()
            .contains("host-other")
    );
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_is_fetched_once_for_many_instances() {
    let mut world = World::new();
    let mut session = world.start().await;
    let layer = world.stored_layer("shared");
    let specs: Vec<_> = (0..5)
        .map(|_| {
            let mut spec = world.instance(&session, HealthCheckKind::Process);
            spec.layers = vec![layer.clone()];
            spec
        })
        .collect();
    for spec in &specs {
        session.accepted(run(spec)).await;
    }
    session
        .all_run(specs.iter().map(|spec| spec.instance))
        .await;
    assert_eq!(world.fetched(), 1);
    world.stop().await;
}

/// Three tries fail; the pauses between them are of 1, 2 and 4 s, give or take a half.
fn resists() -> Behaviour {
    Behaviour {
        removals_fail: 3,
        ..Behaviour::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_resists_its_removal_keeps_its_layers_and_goes_in_the_end_with_its_folder()
{
    let mut world = World::new();
    world.config.budgets.layers = 0;
    let mut session = world.start().await;
    let mut spec = world.instance(&session, HealthCheckKind::Process);
    spec.layers = vec![world.stored_layer("below")];
    let id = spec.instance;
    world.engine.script(&id.to_string(), resists());
    let layer = world.path(format!("layers/{}", spec.layers[0].diff_id.hex()));
    let folder = world.path(format!("containers/{id}"));
    session.accepted(run(&spec)).await;
    session.all_run([id]).await;
    let container = world.engine.container(&id.to_string()).unwrap();
    session.accepted(OrderBody::Stop { instance: id }).await;
    session.exit_of(id).await;
    eventually(|| container.removals() == 1).await;
    let mut other = world.instance(&session, HealthCheckKind::Process);
    other.layers = vec![world.stored_layer("another")];
    session.accepted(run(&other)).await;
    session.all_run([other.instance]).await;
    assert!(layer.exists() && folder.exists(), "it still uses them");

    let begun = Instant::now();
    eventually(|| !folder.exists()).await;
    assert_eq!(world.engine.names(), [other.instance.to_string()]);
    assert_eq!(container.removals(), 4);
    assert!(begun.elapsed() < Duration::from_secs(12));
    let mut other = world.instance(&session, HealthCheckKind::Process);
    other.layers = vec![world.stored_layer("a third")];
    session.accepted(run(&other)).await;
    session.all_run([other.instance]).await;
    assert!(!layer.exists(), "nothing uses it any more");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_start_that_failed_goes_in_the_end() {
    let mut world = World::new();
    world.engine.script_all(Behaviour {
        refuse_start: Some("no network".into()),
        ..resists()
    });
    let mut session = world.start().await;
    let instance = world.instance(&session, HealthCheckKind::Process);
    let (task, build) = (world.task(&session), world.build());
    session.accepted(run(&instance)).await;
    session
        .accepted(OrderBody::RunTask(Box::new(task.clone())))
        .await;
    session
        .accepted(OrderBody::Stage(Box::new(build.clone())))
        .await;
    session.exit_of(instance.instance).await;
    session.outcome(task.task).await;
    session.outcome(build.task).await;
    assert_eq!(world.engine.names().len(), 3);
    eventually(|| world.engine.names().is_empty()).await;
    for name in [
        instance.instance.to_string(),
        task.task.to_string(),
        build.task.to_string(),
    ] {
        let folder = world.path(format!("containers/{name}"));
        eventually(|| !folder.exists()).await;
    }
    world.stop().await;
}
