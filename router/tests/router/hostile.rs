use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::app::{App, read_head};
use super::client::{Client, soon};
use super::world::{World, entry};

#[tokio::test]
async fn ambiguous_requests_are_refused_and_reach_nobody() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-Long: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n",
        "X-Many: 1\r\n".repeat(200)
    );
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test@b.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test:99999\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a.test\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\n X-Folded: 1\r\n\r\n",
            400,
        ),
        ("GET a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", 405),
        ("GET / HTTP/9.9\r\nHost: a.test\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +1\r\n\r\nx",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\nx",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (&long, 431),
        (&many, 431),
    ];
    for (request, status) in cases {
        let mut client = world.client().await;
        client.send(request).await;
        let shown: String = request.chars().take(120).collect();
        assert_eq!(client.head().await.status, status, "{shown:?}");
    }
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn the_host_in_the_request_line_stands_above_the_header() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    client
        .send("GET http://a.test/x?y HTTP/1.1\r\nHost: api.test\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert!(
        answer.body.starts_with("GET /x?y HTTP/1.1\n"),
        "{}",
        answer.body
    );
    assert_eq!(answer.echoed("host"), Some("a.test"));
}

#[tokio::test]
async fn nothing_after_a_request_with_two_lengths_counts_as_a_request() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    for lengths in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
    ] {
        let mut client = world.client().await;
        client
            .send(format!(
                "POST /first HTTP/1.1\r\nHost: a.test\r\n{lengths}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
            ))
            .await;
        let answers = client.rest().await;
        assert!(
            answers.contains("POST /first") && !answers.contains("/smuggled"),
            "{answers}"
        );
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
    }
}

#[tokio::test]
async fn an_app_sees_one_length_whatever_the_client_sent() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let mut client = world.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (
            answer.echoed("content-length"),
            answer.echoed("transfer-encoding")
        ),
        (None, Some("chunked"))
    );
    assert!(answer.body.ends_with("\n\nbody"), "{}", answer.body);
}

#[tokio::test]
async fn a_client_that_sends_its_head_too_slowly_is_cut() {
    let world = World::configured(vec![], |config| {
        config.bounds.header_timeout = Duration::from_secs(1)
    })
    .await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.1\r\nHost: a.te").await;
    client.rest().await;
    let mut idle = world.client().await;
    idle.rest().await;
}

#[tokio::test]
async fn a_client_that_never_reads_loses_its_place() {
    let app = App::by_hand(0, |mut stream| async move {
        read_head(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(&[0; 65536]).await.is_ok() {}
    })
    .await;
    let world = World::configured(vec![entry("a.test", "", &[&app.endpoint])], |config| {
        config.bounds.max_connections = 1;
        config.bounds.client_silence = Duration::from_secs(1);
    })
    .await;
    // One on the short way, one on the long way; both get some of the answer, and take none.
    for method in ["GET", "DELETE"] {
        let mut deaf = world.client().await;
        let request = format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        deaf.send(request).await;
        soon("an answer", deaf.stream.readable())
            .await
            .expect("readable");
        let answer = soon("a place", world.get("b.test", "/")).await;
        assert_eq!(answer.status, 404, "{method}");
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let app = App::echo(0).await;
    let world = World::configured(vec![entry("a.test", "", &[&app.endpoint])], |config| {
        config.bounds.max_connections = 2
    })
    .await;
    let mut first = world.client().await;
    let mut second = world.client().await;
    assert_eq!(first.get("a.test", "/").await.status, 200);
    assert_eq!(second.get("a.test", "/").await.status, 200);
    let mut third = Client::connect(world.address).await;
    third.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(
        tokio::time::timeout(Duration::from_millis(100), third.stream.readable())
            .await
            .is_err(),
        "it waits"
    );
    drop(first);
    assert_eq!(soon("a place", third.answer()).await.status, 200);
}
