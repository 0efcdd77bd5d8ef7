use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::ids::InstanceId;
use model::protocol::router::{Endpoint, RouteMessage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::app::{App, closed_address, endpoint_at, read_head};
use super::client::{Client, eventually};
use super::world::{World, entry};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn post(client: &mut Client, body: &str) -> u16 {
    let length = body.len();
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    client.answer().await.status
}

#[tokio::test]
async fn an_instance_that_does_not_accept_costs_no_request() {
    let app = App::echo(0).await;
    let dead = [
        endpoint_at(closed_address().await, 1),
        endpoint_at(closed_address().await, 2),
    ];
    let world = World::with(vec![entry(
        "a.test",
        "",
        &[&dead[0], &app.endpoint, &dead[1]],
    )])
    .await;
    let mut client = world.client().await;
    for nth in 0..20 {
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\n{nth:04}"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, answer.echoed("x-cf-instanceindex")),
            (200, Some("0"))
        );
        assert!(
            answer.body.ends_with(&format!("\n{nth:04}")),
            "the body went to the instance that answered"
        );
    }
}

#[tokio::test]
async fn no_instance_accepts_is_502_and_dials_are_bounded() {
    let dead: Vec<Endpoint> = {
        let mut dead = Vec::new();
        for index in 0..5 {
            dead.push(endpoint_at(closed_address().await, index));
        }
        dead
    };
    let world = World::with(vec![entry("a.test", "", &dead.iter().collect::<Vec<_>>())]).await;
    for _ in 0..2 {
        let answer = world.get("a.test", "/").await;
        assert_eq!(
            (answer.status, answer.header("x-cf-routererror")),
            (502, Some("endpoint_failure"))
        );
    }
}

#[tokio::test]
async fn a_request_that_an_instance_has_seen_is_not_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let crashing = async |index| {
        let requests = Arc::clone(&requests);
        App::by_hand(index, move |mut stream| {
            let requests = Arc::clone(&requests);
            async move {
                if read_head(&mut stream).await.is_some() {
                    let _ = stream.read_exact(&mut [0; 5]).await;
                    requests.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
        .await
    };
    let apps = [crashing(0).await, crashing(1).await];
    let world = World::with(vec![entry(
        "a.test",
        "",
        &[&apps[0].endpoint, &apps[1].endpoint],
    )])
    .await;
    let mut client = world.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.header("x-cf-routererror")),
        (502, Some("endpoint_failure"))
    );
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_instance_that_closes_kept_connections_loses_no_request() {
    let app = App::by_hand(0, |mut stream| async move {
        let Some(head) = read_head(&mut stream).await else {
            return;
        };
        if head.starts_with("POST") {
            let _ = stream.read_exact(&mut [0; 5]).await;
        }
        let _ = stream.write_all(OK).await;
        // Closes without having said so.
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    for nth in 0..10 {
        assert_eq!(client.get("a.test", "/").await.status, 200, "GET {nth}");
    }
    assert_eq!(app.connections(), 10);
    // A POST must not be sent twice, so it is told apart only while the closing is known before sending.
    eventually("the closed connection is noticed", async || {
        post(&mut client, "hello").await == 200
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_kept_and_given_up_before_the_app_does() {
    let app = App::echo(0).await;
    let world = World::configured(vec![entry("a.test", "", &[&app.endpoint])], |config| {
        config.bounds.upstream_idle_timeout = Duration::from_millis(50);
    })
    .await;
    let (mut first, mut second) = (world.client().await, world.client().await);
    for _ in 0..3 {
        assert_eq!(first.get("a.test", "/").await.status, 200);
        assert_eq!(second.get("a.test", "/").await.status, 200);
    }
    let before = app.connections();
    eventually("the idle connection is closed", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(first.get("a.test", "/").await.status, 200);
        app.connections() > before
    })
    .await;
}

#[tokio::test]
async fn a_new_instance_at_an_old_address_gets_new_connections() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    assert_eq!(world.get("a.test", "/").await.status, 200);
    assert_eq!(world.get("a.test", "/").await.status, 200);
    assert_eq!(app.connections(), 1);
    let next = Endpoint {
        instance: InstanceId::random(),
        ..app.endpoint.clone()
    };
    let changed = vec![entry("a.test", "", &[&next])];
    world.server().say(RouteMessage::Delta {
        version: 2,
        changed,
        removed: vec![],
    });
    let instance = next.instance.to_string();
    eventually("the delta", async || {
        world.get("a.test", "/").await.echoed("x-cf-instanceid") == Some(&instance)
    })
    .await;
    assert_eq!(app.connections(), 2);
}

#[tokio::test]
async fn an_app_that_does_not_begin_to_answer_is_504() {
    let app = App::by_hand(0, |mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let world = World::configured(vec![entry("a.test", "", &[&app.endpoint])], |config| {
        config.bounds.response_timeout = Duration::from_millis(100);
    })
    .await;
    let answer = world.get("a.test", "/").await;
    assert_eq!(
        (answer.status, answer.header("x-cf-routererror")),
        (504, Some("endpoint_failure (answer timeout)"))
    );
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_502() {
    let app = App::by_hand(0, |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let answer = world.get("a.test", "/").await;
    assert_eq!(
        (answer.status, answer.header("x-cf-routererror")),
        (502, Some("endpoint_failure"))
    );
}
