use model::protocol::router::RouteMessage;

use super::app::App;
use super::client::{eventually, soon};
use super::server::Server;
use super::world::{World, entry, key, table};

#[tokio::test]
async fn a_router_starts_from_its_stored_table_without_a_server() {
    let app = App::echo(0).await;
    let mut world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let changed = vec![entry("b.test", "/x", &[&app.endpoint])];
    world.server().say(RouteMessage::Delta {
        version: 2,
        changed,
        removed: vec![],
    });
    eventually("the delta", async || {
        world.get("b.test", "/x").await.status == 200
    })
    .await;
    world.kill_server().await;
    let folder = world.ended().await;

    let world = World::start(folder, None, |config| config.control_hosts.clear());
    assert_eq!(world.get("a.test", "/").await.status, 200);
    assert_eq!(world.get("b.test", "/x").await.status, 200);
    assert_eq!(world.get("b.test", "/").await.status, 404);
    assert_eq!(
        world.get("api.test", "/").await.status,
        503,
        "control hosts are stored too"
    );
    // The server is back, with other truth.
    let server = Server::start(
        world.folder.path(),
        table(9, vec![entry("c.test", "", &[&app.endpoint])]),
    );
    eventually("the new table", async || {
        world.get("a.test", "/").await.status == 404
    })
    .await;
    assert_eq!(world.get("c.test", "/").await.status, 200);
    drop(server);
}

#[tokio::test]
async fn deltas_add_change_and_remove_routes() {
    let (one, two) = (App::echo(1).await, App::echo(2).await);
    let world = World::with(vec![
        entry("a.test", "", &[&one.endpoint]),
        entry("b.test", "", &[&one.endpoint]),
    ])
    .await;
    world.server().say(RouteMessage::KeepAlive);
    world.server().say(RouteMessage::Delta {
        version: 2,
        changed: vec![
            entry("a.test", "", &[&two.endpoint]),
            entry("c.test", "", &[]),
        ],
        removed: vec![key("b.test", "")],
    });
    eventually("the delta", async || {
        world.get("b.test", "/").await.status == 404
    })
    .await;
    assert_eq!(
        world.get("a.test", "/").await.echoed("x-cf-instanceindex"),
        Some("2")
    );
    assert_eq!(world.get("c.test", "/").await.status, 503);
    assert_eq!(world.server().snapshots(), 1);
}

#[tokio::test]
async fn a_gap_between_deltas_leads_to_a_new_snapshot() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    assert_eq!(world.server().snapshots(), 1);
    world
        .server()
        .set_table(table(5, vec![entry("b.test", "", &[&app.endpoint])]));
    world.server().say(RouteMessage::Delta {
        version: 5,
        changed: vec![],
        removed: vec![key("a.test", "")],
    });
    eventually("the new table", async || {
        world.get("b.test", "/").await.status == 200
    })
    .await;
    assert_eq!(world.get("a.test", "/").await.status, 404);
    assert_eq!(world.server().snapshots(), 2);
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let app = App::echo(0).await;
    let mut world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    world.kill_server().await;
    assert_eq!(world.get("a.test", "/").await.status, 200);
    let server = Server::start(
        world.folder.path(),
        table(1, vec![entry("b.test", "", &[&app.endpoint])]),
    );
    eventually("the new table", async || {
        world.get("b.test", "/").await.status == 200
    })
    .await;
    assert_eq!(world.get("api.test", "/").await.status, 200);
    drop(server);
}

/// A supervisor holds the server's sockets while the server is down, so connections succeed and nothing answers.
#[tokio::test]
async fn a_server_that_accepts_and_stays_silent_is_reported_soon() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = tokio::net::UnixListener::bind(folder.path().join("api.sock")).expect("bind");
    let world = World::start(folder, None, |config| {
        config.bounds.silent_server_timeout = std::time::Duration::from_millis(100);
    });
    let answer = soon("an answer", world.get("api.test", "/")).await;
    assert_eq!(
        (answer.status, answer.header("x-cf-routererror")),
        (503, Some("server_unavailable"))
    );
    drop(held);
}
