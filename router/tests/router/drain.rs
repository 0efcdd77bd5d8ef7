use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::app::{App, read_head};
use super::client::{eventually, soon};
use super::world::{World, config, entry};

#[tokio::test]
async fn a_drain_ends_what_is_in_flight_and_closes_the_rest() {
    let (arrived, mut app_has_request) = mpsc::channel(1);
    let finish = CancellationToken::new();
    let app_finish = finish.clone();
    let app = App::by_hand(0, move |mut stream| {
        let (arrived, finish) = (arrived.clone(), app_finish.clone());
        async move {
            read_head(&mut stream).await;
            let _ = arrived.send(()).await;
            finish.cancelled().await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut fresh = world.client().await;
    let mut idle = world.client().await;
    assert_eq!(idle.get("nobody.test", "/").await.status, 404);
    let mut busy = world.client().await;
    busy.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    soon("the request", app_has_request.recv()).await;

    world.begin_shutdown();
    let address = world.address;
    eventually("the port closes", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    assert_eq!(idle.rest().await, "", "an idle connection is closed");
    assert_eq!(fresh.rest().await, "");
    finish.cancel();
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    assert_eq!(busy.rest().await, "", "and closed after it");
    world.ended().await;
}

#[tokio::test]
async fn a_drain_has_a_deadline() {
    let app = App::by_hand(0, |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            )
            .await;
        std::future::pending::<()>().await;
    })
    .await;
    let world = World::configured(vec![entry("a.test", "", &[&app.endpoint])], |config| {
        config.bounds.drain_timeout = Duration::from_millis(100);
    })
    .await;
    let mut tunnel = world.client().await;
    tunnel
        .send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        .await;
    assert_eq!(tunnel.head().await.status, 101);
    world.ended().await;
    assert_eq!(tunnel.rest().await, "");
}

#[tokio::test]
async fn a_port_beyond_loopback_needs_consent() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut refused = config(folder.path());
    refused.listener = std::net::TcpListener::bind("0.0.0.0:0").expect("bind");
    let error = router::run(refused, CancellationToken::new())
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("--insecure-http"), "{error}");
    let mut allowed = config(folder.path());
    allowed.listener = std::net::TcpListener::bind("0.0.0.0:0").expect("bind");
    allowed.insecure_http = true;
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    soon("the end", router::run(allowed, shutdown))
        .await
        .expect("allowed");
}
