use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::app::{App, read_head};
use super::client::soon;
use super::world::{World, entry};

/// Sockets and the router's own buffers may hold some of a stalled stream, but never a part that grows with it.
const MOST_BUFFERED: usize = 24 * 1024 * 1024;
/// Longer than a busy machine stands still: a write that waits as long waits for a reader.
const STALL: Duration = Duration::from_secs(3);

#[tokio::test]
async fn an_answer_arrives_while_the_app_still_writes_it() {
    let app = App::by_hand(0, |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            .await;
        // Only the client's next request lets the app go on.
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.chunk().await.as_deref(), Some(&b"first"[..]));
}

#[tokio::test]
async fn a_body_reaches_the_app_while_the_client_still_writes_it() {
    let (seen, mut seen_by_app) = mpsc::channel(1);
    let app = App::by_hand(0, move |mut stream| {
        let seen = seen.clone();
        async move {
            read_head(&mut stream).await;
            let mut first = [0; 5];
            let _ = stream.read_exact(&mut first).await;
            let _ = seen.send(first).await;
            let _ = stream.read_exact(&mut [0; 4]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nfirst")
        .await;
    assert_eq!(
        soon("the first part", seen_by_app.recv()).await,
        Some(*b"first")
    );
    client.send("last").await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn an_upload_that_the_app_does_not_read_stops_the_client() {
    let app = App::by_hand(0, |mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
            1 << 30
        ))
        .await;
    let mut written = 0;
    while let Ok(sent) = tokio::time::timeout(STALL, client.stream.write(&[0; 65536])).await {
        written += sent.expect("write");
        assert!(
            written < MOST_BUFFERED,
            "the router takes more than the app reads"
        );
    }
    assert!(written > 0, "the router takes nothing");
}

#[tokio::test]
async fn an_answer_that_the_client_does_not_read_stops_the_app() {
    let (stalled, mut app_stalled) = mpsc::channel(1);
    let app = App::by_hand(0, move |mut stream| {
        let stalled = stalled.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream
                .write_all(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30).as_bytes(),
                )
                .await;
            let mut written = 0;
            while written < MOST_BUFFERED
                && let Ok(Ok(sent)) = tokio::time::timeout(STALL, stream.write(&[0; 65536])).await
            {
                written += sent;
            }
            let _ = stalled.send(written).await;
        }
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let written = soon("the stall", app_stalled.recv())
        .await
        .expect("the app reports");
    assert!(
        written < MOST_BUFFERED,
        "the router takes more than the client reads"
    );
    assert!(written > 0, "the router takes nothing");
    assert_eq!(client.head().await.status, 200);
}

#[tokio::test]
async fn a_large_upload_arrives_whole_and_in_chunks_too() {
    const LENGTH: usize = 64 * 1024 * 1024;
    let app = App::by_hand(0, |mut stream| async move {
        let Some(head) = read_head(&mut stream).await else {
            return;
        };
        assert!(
            head.contains(&format!("content-length: {LENGTH}\r\n")),
            "{head}"
        );
        let mut left = LENGTH;
        let mut sum = 0u64;
        let mut buffer = vec![0; 65536];
        while left > 0 {
            let Ok(read @ 1..) = stream.read(&mut buffer).await else {
                return;
            };
            sum += buffer[..read]
                .iter()
                .map(|byte| u64::from(*byte))
                .sum::<u64>();
            left -= read;
        }
        let body = sum.to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    client
        .send(format!(
            "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {LENGTH}\r\n\r\n"
        ))
        .await;
    let block: Vec<u8> = (0..65536).map(|at| (at % 251) as u8).collect();
    for _ in 0..LENGTH / block.len() {
        client.send(&block).await;
    }
    let expected =
        block.iter().map(|byte| u64::from(*byte)).sum::<u64>() * (LENGTH / block.len()) as u64;
    assert_eq!(client.answer().await.body, expected.to_string());
}

#[tokio::test]
async fn a_client_can_read_why_its_upload_was_refused() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let app = App::by_hand(0, |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 5\r\n\r\nlarge")
            .await;
        std::future::pending::<()>().await;
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    for (host, expected) in [("a.test", 413), ("nobody.test", 404)] {
        let mut client = world.client().await;
        client
            .send(format!(
                "PUT / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {LENGTH}\r\n\r\n"
            ))
            .await;
        // A client that reads only after it has written all.
        client.send(vec![0; LENGTH]).await;
        assert_eq!(client.head().await.status, expected);
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_upstream_connection_along() {
    let (left, mut app_saw_end) = mpsc::channel(1);
    let app = App::by_hand(0, move |mut stream| {
        let left = left.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                .await;
            let _ = stream.read(&mut [0; 1]).await;
            let _ = left.send(()).await;
        }
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    client.head().await;
    client.chunk().await;
    drop(client);
    assert_eq!(
        soon("the app learns of it", app_saw_end.recv()).await,
        Some(())
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_complete() {
    let app = App::by_hand(0, |mut stream| async move {
        let Some(head) = read_head(&mut stream).await else {
            return;
        };
        let frame = if head.starts_with("GET /chunked") {
            "Transfer-Encoding: chunked\r\n\r\n5\r\n"
        } else {
            "Content-Length: 9\r\n\r\n"
        };
        let _ = stream
            .write_all(format!("HTTP/1.1 200 OK\r\n{frame}first").as_bytes())
            .await;
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    for path in ["/length", "/chunked"] {
        let mut client = world.client().await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .await;
        let answer = client.rest().await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer:?}");
        let lower = answer.to_ascii_lowercase();
        // Only the missing bytes tell the client, so the length must not have been replaced by the end of the connection.
        let frame = ["content-length: 9", "transfer-encoding: chunked"];
        assert!(
            answer.is_empty() || frame.iter().any(|frame| lower.contains(frame)),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let echo = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&echo.endpoint])]).await;
    let mut client = world.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
             4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n",
        )
        .await;
    let answer = client.answer().await;
    assert!(
        answer.body.ends_with("\nbody\ntrailer x-sum: 42"),
        "{}",
        answer.body
    );

    let trailing = App::by_hand(0, |mut stream| async move {
        let Some(head) = read_head(&mut stream).await else { return };
        assert!(head.contains("te: trailers\r\n"), "{head}");
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&trailing.endpoint])]).await;
    let mut client = world.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(client.line().await, "2");
    assert_eq!(client.line().await, "ok");
    assert_eq!(client.line().await, "0");
    assert_eq!(client.line().await.to_ascii_lowercase(), "x-sum: 7");
    assert_eq!(client.line().await, "");
}

#[tokio::test]
async fn answers_without_a_body_keep_the_connection_in_step() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    for _ in 0..3 {
        client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        let head = client.head().await;
        assert_eq!((head.status, head.header("x-echoed")), (200, Some("HEAD")));
        assert!(
            head.header("content-length")
                .is_some_and(|length| length != "0"),
            "{}",
            head.head
        );
        client
            .send("GET /304 HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .await;
        assert_eq!(client.head().await.status, 304);
        client
            .send("HEAD / HTTP/1.1\r\nHost: nobody.test\r\n\r\n")
            .await;
        assert_eq!(client.head().await.status, 404);
    }
    assert_eq!(client.get("a.test", "/").await.status, 200);
    // One of the short way, and one of the long way, which the unknown host led to.
    assert_eq!(app.connections(), 2);
}

#[tokio::test]
async fn one_connection_on_each_side_serves_many_requests() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    for nth in 0..50 {
        let body = "x".repeat(nth * 100);
        client
            .send(format!(
                "POST /{nth} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        let answer = client.answer().await;
        assert!(
            answer.body.starts_with(&format!("POST /{nth} "))
                && answer.body.ends_with(&format!("\n\n{body}"))
        );
        assert_eq!(client.get("a.test", "/").await.status, 200);
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_only_for_a_body_that_is_wanted() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let ask = async |host: &str| {
        let mut client = world.client().await;
        client
            .send(format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"))
            .await;
        let head = client.head().await;
        (client, head.status)
    };
    let (mut client, status) = ask("a.test").await;
    assert_eq!(status, 100);
    client.send("body").await;
    let answer = client.answer().await;
    assert!(
        answer.status == 200 && answer.body.ends_with("\n\nbody"),
        "{answer:?}"
    );
    assert_eq!(ask("nobody.test").await.1, 404);
}

#[tokio::test]
async fn old_clients_get_answers_they_understand() {
    let app = App::by_hand(0, |mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
            let answer =
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.head.starts_with("HTTP/1.0 200 "), "{}", answer.head);
    assert_eq!(
        (answer.header("transfer-encoding"), answer.body.as_str()),
        (None, "hello")
    );
}

#[tokio::test]
async fn an_old_app_that_ends_its_answer_by_closing_is_read_to_the_end() {
    let app = App::by_hand(0, |mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream
            .write_all(b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhello")
            .await;
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    for _ in 0..2 {
        let answer = client.get("a.test", "/").await;
        assert!(answer.head.starts_with("HTTP/1.1 200 "), "{}", answer.head);
        assert_eq!(
            (answer.header("connection"), answer.body.as_str()),
            (None, "hello")
        );
    }
}

#[tokio::test]
async fn a_websocket_passes_bytes_both_ways_until_one_side_ends() {
    let app = App::by_hand(0, |mut stream| async move {
        let Some(head) = read_head(&mut stream).await else { return };
        assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: Upgrade\r\n"), "{head}");
        // The first bytes of the new protocol come in the same packet as the answer.
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhi";
        let _ = stream.write_all(answer).await;
        let mut buffer = [0; 64];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let _ = stream.write_all(&buffer[..read]).await;
        }
    })
    .await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    client
        .send("GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n")
        .await;
    let head = client.head().await;
    assert_eq!(
        (head.status, head.header("upgrade")),
        (101, Some("websocket"))
    );
    assert_eq!(head.header("sec-websocket-accept"), Some("x"));
    assert_eq!(client.exactly(2).await, b"hi");
    for message in ["one", "two", "three"] {
        client.send(message).await;
        assert_eq!(client.exactly(message.len()).await, message.as_bytes());
    }
    client.stream.shutdown().await.expect("end our side");
    assert_eq!(client.rest().await, "");
}
