use model::limits::Megabytes;
use model::secret::Env;

use super::*;
use crate::ContainerLimits;

fn spec(name: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        hostname: name.to_owned(),
        dir: std::env::temp_dir().join(name),
        layers: Vec::new(),
        mounts: Vec::new(),
        results: None,
        cache: None,
        args: vec!["app".to_owned()],
        env: Env::new(),
        cwd: "/home/vcap".to_owned(),
        limits: ContainerLimits {
            memory: Megabytes(64),
            disk: Megabytes(64),
            cpu_weight: 100,
            pids: 10,
            open_files: 100,
            log_rate: None,
        },
        max_log_bytes: 1024,
    }
}

#[tokio::test(start_paused = true)]
async fn a_scripted_exit_comes_at_its_time() {
    let engine = FakeEngine::new(Isolation::Container);
    let exits = Some((
        Duration::from_secs(90),
        FakeExit {
            status: 3,
            oom_killed: true,
        },
    ));
    engine.script(
        "a",
        Behaviour {
            exits,
            ..Behaviour::default()
        },
    );
    let container = engine.start(spec("a")).await.expect("starts");
    let exit = container.wait().await.expect("ends");
    assert_eq!(
        (exit.status, exit.oom_killed, exit.ran),
        (3, true, Duration::from_secs(90))
    );
    assert!(container.listeners().await.expect("known").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_container_that_hangs_on_terminate_ends_by_kill() {
    let engine = FakeEngine::new(Isolation::Container);
    engine.script_all(Behaviour {
        on_terminate: OnTerminate::Ignore,
        ..Behaviour::default()
    });
    let container = engine.start(spec("a")).await.expect("starts");
    container.signal(Signal::Terminate).await.expect("sent");
    let waited = tokio::time::timeout(Duration::from_secs(10), container.wait()).await;
    assert!(waited.is_err(), "it does not end by itself");
    container.signal(Signal::Kill).await.expect("sent");
    assert_eq!(container.wait().await.expect("ends").status, 137);
    assert_eq!(container.signals(), [Signal::Terminate, Signal::Kill]);
}

#[tokio::test(start_paused = true)]
async fn containers_outlive_the_handles_of_whoever_started_them() {
    let engine = FakeEngine::new(Isolation::Container);
    for name in ["a", "b"] {
        drop(engine.start(spec(name)).await.expect("starts"));
    }
    let next_agent = engine.clone();
    let adopted = next_agent.adopt().await.expect("listed");
    assert_eq!(
        adopted.iter().map(Container::name).collect::<Vec<_>>(),
        ["a", "b"]
    );
    next_agent.sweep(&["b".to_owned()]).await.expect("swept");
    assert_eq!(engine.names(), ["b"]);
    assert_eq!(adopted[0].wait().await.expect("ended").status, 137);
}

#[tokio::test]
async fn a_real_port_accepts_connections_until_removal() {
    let engine = FakeEngine::new(Isolation::Container);
    engine.script_all(Behaviour {
        real_port: true,
        ..Behaviour::default()
    });
    let container = engine.start(spec("a")).await.expect("starts");
    let address = (container.address(), container.port());
    let connected = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(10), connected)
        .await
        .expect("reachable");
    container.remove().await.expect("removed");
    let refused = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused)
        .await
        .expect("gone");
}
