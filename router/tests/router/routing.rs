use super::app::App;
use super::client::Client;
use super::server::Server;
use super::world::{World, entry, table};

async fn hit_by(world: &World, apps: &[&App], host: &str, path: &str) -> Option<usize> {
    let answer = world.get(host, path).await;
    let instance = answer.echoed("x-cf-instanceid")?;
    apps.iter()
        .position(|app| app.endpoint.instance.to_string() == instance)
}

#[tokio::test]
async fn requests_reach_the_longest_matching_route() {
    let (root, api, wild) = (App::echo(0).await, App::echo(0).await, App::echo(0).await);
    let world = World::with(vec![
        entry("a.test", "", &[&root.endpoint]),
        entry("a.test", "/api", &[&api.endpoint]),
        entry("*.test", "", &[&wild.endpoint]),
    ])
    .await;
    let apps = [&root, &api, &wild];
    for (host, path, app) in [
        ("a.test", "/", 0),
        ("A.TEST.:8080", "/", 0),
        ("a.test", "/apis", 0),
        ("a.test", "/api", 1),
        ("a.test", "/api/v1?q=/", 1),
        ("b.test", "/api", 2),
        ("c.b.test", "/", 2),
    ] {
        assert_eq!(
            hit_by(&world, &apps, host, path).await,
            Some(app),
            "{host}{path}"
        );
    }
}

#[tokio::test]
async fn the_app_sees_path_query_and_host_as_they_were_sent() {
    let app = App::echo(0).await;
    let world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    let answer = world.get("A.test:8080", "/x/%2F..;/a//b?c=%20&d='").await;
    assert!(
        answer
            .body
            .starts_with("GET /x/%2F..;/a//b?c=%20&d=' HTTP/1.1\n"),
        "{}",
        answer.body
    );
    assert_eq!(answer.echoed("host"), Some("A.test:8080"));
}

#[tokio::test]
async fn failures_say_what_is_wrong_and_what_to_do() {
    let world = World::with(vec![entry("empty.test", "", &[])]).await;
    let unknown = world.get("nobody.test", "/").await;
    assert_eq!(
        (unknown.status, unknown.header("x-cf-routererror")),
        (404, Some("unknown_route"))
    );
    assert!(
        unknown.body.contains("'nobody.test'") && unknown.body.contains("slipway routes"),
        "{}",
        unknown.body
    );
    assert!(unknown.header("x-vcap-request-id").is_some());
    let empty = world.get("empty.test", "/").await;
    assert_eq!(
        (empty.status, empty.header("x-cf-routererror")),
        (503, Some("no_endpoints"))
    );
    assert!(empty.body.contains("slipway app"), "{}", empty.body);
}

#[tokio::test]
async fn control_hosts_and_ip_literals_reach_the_server_and_apps_cannot_take_them() {
    let app = App::echo(0).await;
    let world = World::with(vec![
        entry("api.test", "", &[&app.endpoint]),
        entry("*.test", "", &[&app.endpoint]),
    ])
    .await;
    for host in [
        "api.test",
        "API.test.:8080",
        "127.0.0.1:8080",
        "[::1]",
        "192.0.2.1",
    ] {
        let answer = world.get(host, "/v3/info").await;
        assert_eq!((answer.status, answer.echoed("host")), (200, Some(host)));
        assert_eq!(answer.echoed("x-cf-instanceid"), None, "the server got it");
        assert_eq!(answer.echoed("x-forwarded-proto"), Some("http"));
    }
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn without_the_server_apps_answer_and_the_api_says_why_it_does_not() {
    let app = App::echo(0).await;
    let mut world = World::with(vec![entry("a.test", "", &[&app.endpoint])]).await;
    assert_eq!(world.get("api.test", "/").await.status, 200);
    world.kill_server().await;
    let answer = world.get("api.test", "/v3/apps").await;
    assert_eq!(answer.status, 503);
    let body: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(body["errors"][0]["title"], "CF-ServiceUnavailable");
    assert_eq!(world.get("a.test", "/").await.status, 200);
    let app_instead = world.get("nobody.test", "/").await;
    assert_eq!(
        app_instead.status, 404,
        "an unknown host never reaches the API, nor its error"
    );
}

#[tokio::test]
async fn before_the_first_table_only_the_api_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let world = World::start(folder, None, |_| {});
    let answer = world.get("a.test", "/").await;
    assert_eq!(
        (answer.status, answer.header("x-cf-routererror")),
        (503, Some("no_route_table"))
    );
    for host in ["api.test", "127.0.0.1"] {
        let answer = world.get(host, "/").await;
        assert_eq!(
            (answer.status, answer.header("x-cf-routererror")),
            (503, Some("server_unavailable"))
        );
    }
    let app = App::echo(0).await;
    let server = Server::start(
        world.folder.path(),
        table(1, vec![entry("a.test", "", &[&app.endpoint])]),
    );
    world.has_table().await;
    assert_eq!(world.get("a.test", "/").await.status, 200);
    drop(server);
}

#[tokio::test]
async fn three_instances_take_turns() {
    let apps = [App::echo(0).await, App::echo(1).await, App::echo(2).await];
    let endpoints: Vec<_> = apps.iter().map(|app| &app.endpoint).collect();
    let world = World::with(vec![entry("a.test", "", &endpoints)]).await;
    let mut client: Client = world.client().await;
    let mut seen = [0; 3];
    for _ in 0..30 {
        let index: usize = client
            .get("a.test", "/")
            .await
            .echoed("x-cf-instanceindex")
            .expect("index")
            .parse()
            .expect("a number");
        seen[index] += 1;
    }
    assert_eq!(seen, [10; 3]);
    assert_eq!(
        apps.map(|app| app.connections()),
        [1; 3],
        "each keeps one connection"
    );
}

#[tokio::test]
async fn a_request_can_ask_for_one_instance() {
    let mut apps = [App::echo(0).await, App::echo(1).await];
    apps[1].endpoint.app = apps[0].endpoint.app;
    apps[1].endpoint.process = apps[0].endpoint.process;
    let world = World::with(vec![entry(
        "a.test",
        "",
        &[&apps[0].endpoint, &apps[1].endpoint],
    )])
    .await;
    let guid = apps[0].endpoint.app;
    let ask = async |header: String| {
        let mut client = world.client().await;
        client
            .send(format!(
                "GET / HTTP/1.1\r\nHost: a.test\r\n{header}\r\n\r\n"
            ))
            .await;
        client.answer().await
    };
    for _ in 0..3 {
        for header in [
            format!("X-CF-App-Instance: {guid}:1"),
            format!("X-Cf-Process-Instance: {guid}:1"),
        ] {
            let answer = ask(header).await;
            assert_eq!(
                (answer.status, answer.echoed("x-cf-instanceindex")),
                (200, Some("1"))
            );
        }
    }
    assert_eq!(
        ask(format!("X-CF-Process-Instance: {guid}")).await.status,
        200
    );
    let other = model::ids::AppId::random();
    for value in [
        format!("{guid}:2"),
        format!("{guid}"),
        format!("{guid}:x"),
        "nonsense:0".to_owned(),
        format!("{other}:0"),
    ] {
        let answer = ask(format!("X-CF-App-Instance: {value}")).await;
        assert_eq!(
            (answer.status, answer.header("x-cf-routererror")),
            (400, Some("invalid_cf_app_instance_header")),
            "{value}"
        );
    }
    let answer = ask(format!("X-CF-Process-Instance: {guid}:7")).await;
    assert_eq!(
        (answer.status, answer.header("x-cf-routererror")),
        (400, Some("invalid_cf_process_instance_header"))
    );
}
