use super::app::App;
use super::client::Answer;
use super::world::{CONTROL_HOST, World, entry};

const SPOOF: &str = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n\
    X-Forwarded-Port: 1\r\nX-Forwarded-Client-Cert: x\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
    X-CF-InstanceID: x\r\nX-CF-ApplicationID: y\r\nX-CF-InstanceIndex: 9\r\nX-Vcap-Request-Id: spoofed\r\nX-Request-Start: 1\r\n\
    X-Slipway-Client: 6.6.6.6\r\nX_Slipway_Client: 6.6.6.6\r\n";

async fn ask(world: &World, headers: &str) -> Answer {
    let mut client = world.client().await;
    client
        .send(format!(
            "GET / HTTP/1.1\r\nHost: a.test:8080\r\n{headers}\r\n"
        ))
        .await;
    client.answer().await
}

#[tokio::test]
async fn an_app_learns_who_asked_and_which_instance_it_is() {
    let app = App::echo(3).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let answer = ask(&world, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Request-ID: mine\r\n").await;
    assert_eq!(answer.echoed("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(answer.echoed("x-forwarded-proto"), Some("http"));
    assert_eq!(answer.echoed("x-forwarded-host"), Some("a.test:8080"));
    assert_eq!(answer.echoed("x-forwarded-port"), Some("8080"));
    assert_eq!(
        answer.echoed("x-cf-applicationid"),
        Some(app.endpoint.app.to_string().as_str())
    );
    assert_eq!(
        answer.echoed("x-cf-instanceid"),
        Some(app.endpoint.instance.to_string().as_str())
    );
    assert_eq!(answer.echoed("x-cf-instanceindex"), Some("3"));
    assert_eq!(answer.echoed("x-request-id"), Some("mine"));
    assert_eq!(
        answer.echoed("traceparent"),
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    );
    let id = answer.header("x-vcap-request-id").expect("an id");
    assert_eq!(answer.echoed("x-vcap-request-id"), Some(id));
    assert!(
        answer
            .echoed("x-request-start")
            .is_some_and(|start| start.len() == 13)
    );
    let other = ask(&world, "").await;
    assert_ne!(other.header("x-vcap-request-id"), Some(id));
    assert_eq!(
        other.echoed("x-request-id"),
        other.header("x-vcap-request-id")
    );
}

#[tokio::test]
async fn what_a_stranger_says_of_itself_is_replaced() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    for headers in [
        SPOOF.to_owned(),
        format!("{SPOOF}Connection: X-Forwarded-For, X-CF-InstanceID, Host, close\r\n"),
    ] {
        let answer = ask(&world, &headers).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.echoed("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(answer.echoed("x-forwarded-proto"), Some("http"));
        assert_eq!(answer.echoed("x-forwarded-host"), Some("a.test:8080"));
        assert_eq!(answer.echoed("x-forwarded-port"), Some("8080"));
        assert_eq!(
            answer.echoed("x-cf-instanceid"),
            Some(app.endpoint.instance.to_string().as_str())
        );
        assert_eq!(answer.echoed("x-cf-instanceindex"), Some("0"));
        for gone in ["forwarded", "x_forwarded_for", "x-forwarded-client-cert"] {
            assert_eq!(answer.echoed(gone), None, "{gone}");
        }
        assert!(
            !answer.body.contains("6.6.6.6") && !answer.body.contains("spoofed"),
            "{}",
            answer.body
        );
        assert_ne!(answer.echoed("x-request-start"), Some("1"));
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_passed_on() {
    let app = App::echo(0).await;
    let world = World::configured(vec![entry("a.test", "", &[&app.endpoint])], |config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    let answer = ask(&world, SPOOF).await;
    assert_eq!(answer.echoed("x-forwarded-for"), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(answer.echoed("x-forwarded-proto"), Some("https"));
    assert_eq!(answer.echoed("x-forwarded-host"), Some("evil.test"));
    assert_eq!(answer.echoed("x-forwarded-port"), Some("1"));
    assert_eq!(answer.echoed("forwarded"), Some("for=6.6.6.6"));
    assert_eq!(answer.echoed("x_forwarded_for"), None);
    assert_eq!(answer.echoed("x-cf-instanceindex"), Some("0"));
    for gone in ["x-slipway-client", "x_slipway_client"] {
        assert_eq!(answer.echoed(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn the_server_learns_which_client_asked_in_front_of_the_operators_proxies() {
    for (trusted, said, client) in [
        (&[][..], "", "127.0.0.1"),
        (&[], SPOOF, "127.0.0.1"),
        (&["127.0.0.1"], "", "127.0.0.1"),
        (&["127.0.0.1"], SPOOF, "6.6.6.6"),
        (
            &["127.0.0.1", "10.0.0.0/8"],
            "X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\nX-Forwarded-For: 10.1.1.1\r\n",
            "192.0.2.1",
        ),
        (
            &["127.0.0.1", "10.0.0.0/8"],
            "X-Forwarded-For: [2001:db8::1]:40000, 10.1.1.1\r\n",
            "2001:db8::1",
        ),
        (
            &["127.0.0.1", "10.0.0.0/8"],
            "X-Forwarded-For: 10.2.2.2, 10.1.1.1\r\n",
            "127.0.0.1",
        ),
        (
            &["127.0.0.1"],
            "X-Forwarded-For: 6.6.6.6, unknown\r\n",
            "127.0.0.1",
        ),
    ] {
        let world = World::configured(Vec::new(), |config| {
            let network = |text: &&str| text.parse().expect("a network");
            config.trusted_proxies = trusted.iter().map(network).collect();
        })
        .await;
        let mut asking = world.client().await;
        let request = format!("GET / HTTP/1.1\r\nHost: {CONTROL_HOST}\r\n{said}\r\n");
        asking.send(request).await;
        let answer = asking.answer().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let named = answer.echoed("x-slipway-client");
        assert_eq!(named, Some(client), "{trusted:?} {said:?}");
        assert_eq!(answer.echoed("x_slipway_client"), None);
    }
}

#[tokio::test]
async fn headers_of_one_connection_end_there() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let headers = "Connection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
        Proxy-Authorization: Basic x\r\nTE: gzip\r\nUpgrade: h2c\r\nX-Yours: 2\r\n";
    let answer = ask(&world, headers).await;
    for gone in [
        "connection",
        "x-mine",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
    ] {
        assert_eq!(answer.echoed(gone), None, "{gone}");
    }
    assert_eq!(answer.echoed("x-yours"), Some("2"));
}
