//! The life of builds.

use std::fs;
use std::time::Duration;

use cells_engine::fake::{Behaviour, FakeExit, OnTerminate};
use model::droplet::{Image, Stack};
use model::protocol::cell::{OrderBody, StagingSpec, layer_blob};
use model::protocol::lifecycle::{BuildResult, BuildSpec};
use model::task::{StagingFailure, TaskOutcome};

use super::session::Session;
use super::world::{World, eventually, pack};

const FINE: FakeExit = FakeExit {
    status: 0,
    oom_killed: false,
};

async fn begin(world: &World, session: &mut Session) -> StagingSpec {
    let spec = world.build();
    session
        .accepted(OrderBody::Stage(Box::new(spec.clone())))
        .await;
    session.started(spec.task).await;
    eventually(|| world.engine.container(&spec.task.to_string()).is_some()).await;
    spec
}

/// What the lifecycle would leave: a result with one layer.
fn leave_result(
    world: &World,
    spec: &StagingSpec,
    stack: Stack,
    packed: &[u8],
    layer: model::droplet::Layer,
) {
    let out = world.path(format!("containers/{}/out", spec.task));
    fs::create_dir_all(out.join("layers")).unwrap();
    fs::write(
        out.join(format!("layers/{}.tar.zst", layer.diff_id.hex())),
        packed,
    )
    .unwrap();
    let process_types = [("web".to_owned(), "run".to_owned())].into();
    let image = Image {
        stack,
        layers: vec![layer],
        process_types,
        buildpacks: vec![],
    };
    fs::write(
        out.join("result.json"),
        serde_json::to_vec(&BuildResult::Built { image }).unwrap(),
    )
    .unwrap();
}

fn end(world: &World, spec: &StagingSpec, exit: FakeExit) {
    world
        .engine
        .container(&spec.task.to_string())
        .unwrap()
        .exit_now(exit);
}

#[tokio::test(start_paused = true)]
async fn a_build_stores_its_layers_and_keeps_its_result_until_it_is_forgotten() {
    let mut world = World::new();
    world.engine.script_all(Behaviour {
        output: vec![('O', "-----> Java".into())],
        ..Behaviour::default()
    });
    let settings = world.config.data.with_extension("settings.xml");
    fs::write(&settings, "<settings><mirrors><mirror><id>m</id><url>http://u:p@m/</url></mirror></mirrors></settings>").unwrap();
    world.config.host.maven_settings = vec![settings];
    world.config.host.proxies =
        vec![("HTTPS_PROXY".into(), "http://joe:hunter2@proxy:3128".into())];
    let mut session = world.start().await;
    let spec = begin(&world, &mut session).await;
    let started = world.engine.started()[0].clone();
    assert_eq!(started.args[1..4], ["lifecycle", "build", "--spec"]);
    let build: BuildSpec = serde_json::from_slice(&fs::read(&started.args[4]).unwrap()).unwrap();
    assert_eq!(fs::read(&build.package).unwrap(), b"a zip file");
    let settings = fs::read_to_string(build.maven_settings.unwrap()).unwrap();
    assert!(settings.contains("<url>http://m/</url>"), "{settings}");
    assert_eq!(started.env.get("https_proxy"), Some("http://proxy:3128"));
    assert_eq!(started.env.get("HTTPS_PROXY"), Some("http://proxy:3128"));
    assert!(
        !String::from_utf8(fs::read(&started.args[4]).unwrap())
            .unwrap()
            .contains("hunter2")
    );

    let (layer, packed) = pack("app.jar");
    leave_result(&world, &spec, session.stack(), &packed, layer.clone());
    end(&world, &spec, FINE);
    let TaskOutcome::Staged { image } = session.outcome(spec.task).await else {
        panic!("not staged")
    };
    assert_eq!(image.layers, std::slice::from_ref(&layer));
    assert_eq!(world.blob(&layer_blob(&layer.diff_id)).unwrap(), packed);
    let lines = world.logs(&mut session, spec.app).await;
    assert!(lines.iter().all(|line| line.source.to_string() == "STG"));
    assert!(
        lines.iter().any(|line| line.bytes == b"-----> Java"),
        "{lines:?}"
    );
    world.stop().await;

    let mut session = world.start().await;
    assert_eq!(
        session.tasks.len(),
        1,
        "the result is told again until it is stored"
    );
    session
        .accepted(OrderBody::ForgetTask { task: spec.task })
        .await;
    world.stop().await;
    assert!(world.start().await.tasks.is_empty());
    assert!(!world.path(format!("builds/{}", spec.task)).exists());
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_not_what_it_is_named_after_is_not_stored() {
    let mut world = World::new();
    let mut session = world.start().await;
    let spec = begin(&world, &mut session).await;
    let (layer, _) = pack("good");
    let (other, packed) = pack("evil");
    let claimed = model::droplet::Layer {
        compressed_size: other.compressed_size,
        ..layer
    };
    leave_result(&world, &spec, session.stack(), &packed, claimed.clone());
    end(&world, &spec, FINE);
    let TaskOutcome::Failed {
        failure: StagingFailure::Internal { message },
    } = session.outcome(spec.task).await
    else {
        panic!("not failed")
    };
    assert!(message.contains("not what was declared"), "{message}");
    assert_eq!(world.blob(&layer_blob(&claimed.diff_id)), None);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_cell_and_server_have_is_still_only_for_those_who_have_its_bytes() {
    let mut world = World::new();
    let mut session = world.start().await;
    let (layer, packed) = pack("app.jar");
    for honest in [true, true, false] {
        let spec = begin(&world, &mut session).await;
        let (other, forged) = pack("evil");
        let (claimed, bytes) = if honest {
            (layer.clone(), &packed)
        } else {
            let compressed_size = other.compressed_size;
            let claimed = model::droplet::Layer {
                compressed_size,
                ..layer.clone()
            };
            (claimed, &forged)
        };
        leave_result(&world, &spec, session.stack(), bytes, claimed);
        end(&world, &spec, FINE);
        match session.outcome(spec.task).await {
            TaskOutcome::Staged { .. } if honest => {}
            TaskOutcome::Failed {
                failure: StagingFailure::Internal { message },
            } if !honest => assert!(message.contains("not what was declared"), "{message}"),
            other => panic!("{honest}: {other:?}"),
        }
    }
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failures_of_a_build_are_told_apart() {
    let mut world = World::new();
    let output = vec![('O', "compiling".to_owned())];
    world.engine.script_all(Behaviour {
        output,
        on_terminate: OnTerminate::Ignore,
        ..Behaviour::default()
    });
    let mut session = world.start().await;
    let failure = |outcome| match outcome {
        TaskOutcome::Failed { failure } => failure,
        other => panic!("{other:?}"),
    };

    let spec = begin(&world, &mut session).await;
    end(
        &world,
        &spec,
        FakeExit {
            status: 137,
            oom_killed: true,
        },
    );
    let out_of_memory = StagingFailure::OutOfMemory {
        limit_bytes: 1 << 30,
    };
    assert_eq!(failure(session.outcome(spec.task).await), out_of_memory);

    let spec = begin(&world, &mut session).await;
    let told = StagingFailure::Refused {
        buildpack: "java".into(),
        message: "no main class".into(),
        hint: None,
    };
    let result = serde_json::to_vec(&BuildResult::Failed {
        failure: told.clone(),
    })
    .unwrap();
    fs::write(
        world.path(format!("containers/{}/out/result.json", spec.task)),
        result,
    )
    .unwrap();
    end(&world, &spec, FINE);
    assert_eq!(failure(session.outcome(spec.task).await), told);

    let spec = begin(&world, &mut session).await;
    end(
        &world,
        &spec,
        FakeExit {
            status: 101,
            oom_killed: false,
        },
    );
    let StagingFailure::Internal { message } = failure(session.outcome(spec.task).await) else {
        panic!()
    };
    assert!(
        message.contains("status 101") && message.contains("compiling"),
        "{message}"
    );

    let spec = begin(&world, &mut session).await;
    let last_lines = vec!["compiling".to_owned()];
    assert_eq!(
        failure(session.outcome(spec.task).await),
        StagingFailure::TimedOut {
            seconds: 900,
            last_lines
        }
    );

    let spec = begin(&world, &mut session).await;
    session
        .accepted(OrderBody::CancelTask { task: spec.task })
        .await;
    assert_eq!(session.outcome(spec.task).await, TaskOutcome::Cancelled);
    eventually(|| world.engine.names().is_empty()).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn builds_beyond_the_slots_wait_and_start_at_most_once() {
    let mut world = World::new();
    let mut session = world.start().await;
    let first = begin(&world, &mut session).await;
    let second = world.build();
    session
        .accepted(OrderBody::Stage(Box::new(second.clone())))
        .await;
    session
        .accepted(OrderBody::Stage(Box::new(second.clone())))
        .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.engine.names(), [first.task.to_string()]);
    world.stop().await;

    let mut session = world.start().await;
    assert_eq!(session.tasks.len(), 2);
    let waiting = session
        .tasks
        .iter()
        .find(|report| report.task == second.task)
        .unwrap();
    let lost = model::task::TaskState::Done {
        outcome: TaskOutcome::Failed {
            failure: StagingFailure::CellLost,
        },
    };
    assert_eq!(waiting.state, lost, "its environment went with the agent");
    let (layer, packed) = pack("app.jar");
    leave_result(&world, &first, session.stack(), &packed, layer);
    end(&world, &first, FINE);
    assert!(
        matches!(
            session.outcome(first.task).await,
            TaskOutcome::Staged { .. }
        ),
        "the running build was adopted"
    );
    assert_eq!(world.engine.started().len(), 1);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_build_whose_container_resists_its_removal_holds_no_other_up() {
    let mut world = World::new();
    world.engine.script_all(Behaviour {
        removals_fail: 3,
        ..Behaviour::default()
    });
    let mut session = world.start().await;
    let first = begin(&world, &mut session).await;
    end(&world, &first, FINE);
    session.outcome(first.task).await;
    let second = begin(&world, &mut session).await;
    assert_eq!(world.engine.names().len(), 2);
    end(&world, &second, FINE);
    session.outcome(second.task).await;
    eventually(|| world.engine.names().is_empty()).await;
    for spec in [first, second] {
        let folder = world.path(format!("builds/{}", spec.task));
        eventually(|| !folder.exists()).await;
    }
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_of_a_finished_build_that_resists_is_removed_by_the_next_agent() {
    let mut world = World::new();
    world.engine.script_all(Behaviour {
        removals_fail: 5,
        ..Behaviour::default()
    });
    let mut session = world.start().await;
    let spec = begin(&world, &mut session).await;
    end(&world, &spec, FINE);
    session.outcome(spec.task).await;
    world.stop().await;
    assert_eq!(world.engine.names(), [spec.task.to_string()]);
    world.start().await;
    eventually(|| world.engine.names().is_empty()).await;
    let package = world.path(format!("builds/{}", spec.task));
    eventually(|| !package.exists()).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_build_whose_output_has_brought_two_agents_down_fails() {
    let mut world = World::new();
    let mut session = world.start().await;
    let spec = begin(&world, &mut session).await;
    let (layer, packed) = pack("app.jar");
    leave_result(&world, &spec, session.stack(), &packed, layer);
    let file = world.path(format!("tasks/{}.json", spec.task));
    let read = || serde_json::from_slice::<serde_json::Value>(&fs::read(&file).unwrap()).unwrap();
    world.hold_uploads(true);
    end(&world, &spec, FINE);
    eventually(|| read()["taken_in"] == 1).await;
    world.stop().await;
    world.hold_uploads(false);
    let mut record = read();
    assert_eq!(
        record["taken_in"], 0,
        "agents that leave in order do not count"
    );
    // As two agents left it that were killed.
    record["taken_in"] = 2.into();
    fs::write(&file, record.to_string()).unwrap();
    let mut session = world.start().await;
    let TaskOutcome::Failed {
        failure: StagingFailure::Internal { message },
    } = session.outcome(spec.task).await
    else {
        panic!("not failed")
    };
    assert!(message.contains("2 times"), "{message}");
    world.stop().await;
}
