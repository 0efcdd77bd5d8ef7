//! What holds for every call.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::json;

use crate::client::Client;
use crate::world::World;

#[tokio::test]
async fn what_the_api_does_not_have_is_an_unknown_request() {
    let world = World::logged_in().await;
    for (method, path) in [
        (Method::GET, "/v3/nothing"),
        (Method::GET, "/nothing"),
        (Method::PUT, "/v3/apps"),
        (Method::POST, "/v3/sidecars"),
        (Method::GET, "/internal/routes"),
        (Method::GET, "/metrics"),
        (Method::GET, "/v3/apps/%ff/env/x"),
    ] {
        let answer = world
            .client
            .send(method.clone(), path, &[], Body::empty())
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
        let want =
            json!({"errors":[{"code":10000,"title":"CF-NotFound","detail":"Unknown request"}]});
        assert_eq!(answer.json(), want, "{method} {path}");
    }
}

#[tokio::test]
async fn resources_that_are_not_there_are_named_as_cf_expects() {
    let world = World::logged_in().await;
    let guid = "6a617661-0000-4000-8000-000000000000";
    for (path, detail) in [
        (format!("/v3/apps/{guid}"), "App not found"),
        ("/v3/apps/no-guid".into(), "App not found"),
        (format!("/v3/apps/{guid}/droplets/current"), "App not found"),
        (format!("/v3/processes/{guid}/stats"), "Process not found"),
        (format!("/v3/droplets/{guid}"), "Droplet not found"),
        (format!("/v3/packages/{guid}"), "Package not found"),
        (format!("/v3/builds/{guid}"), "Build not found"),
        (format!("/v3/tasks/{guid}"), "Task not found"),
        (format!("/v3/jobs/{guid}"), "Job not found"),
        ("/v3/feature_flags/moon".into(), "Feature flag not found"),
        (format!("/api/v1/read/{guid}"), "App not found"),
    ] {
        let answer = world.client.get(&path).await;
        assert_eq!(
            (answer.status, answer.detail().as_str()),
            (StatusCode::NOT_FOUND, detail),
            "{path}"
        );
    }
    let app = world.new_app("unstaged").await;
    let current = world
        .client
        .get(&format!("/v3/apps/{app}/droplets/current"))
        .await;
    assert_eq!(
        (current.status, current.detail().as_str()),
        (StatusCode::NOT_FOUND, "Droplet not found")
    );
    let start = world
        .client
        .post(&format!("/v3/apps/{app}/actions/start"), &json!({}))
        .await;
    assert_eq!(start.detail(), "Assign a droplet before starting this app.");
    let instance = world
        .client
        .delete(&format!("/v3/apps/{app}/processes/web/instances/0"))
        .await;
    assert_eq!(instance.detail(), "Instance not found");
}

#[tokio::test]
async fn request_ids_come_back_and_odd_ones_are_replaced() {
    let world = World::new().await;
    let with = |id: String| {
        let client = world.client.clone();
        async move {
            let answer = client
                .send(
                    Method::GET,
                    "/v3",
                    &[("x-vcap-request-id", &id)],
                    Body::empty(),
                )
                .await;
            answer
                .header("x-vcap-request-id")
                .expect("an id")
                .to_owned()
        }
    };
    assert_eq!(with("abc-1".into()).await, "abc-1");
    let replaced = with("x".repeat(500)).await;
    assert_eq!(replaced.len(), 36, "{replaced}");
    assert_ne!(
        world
            .client
            .get("/nothing")
            .await
            .header("x-vcap-request-id"),
        None
    );
}

#[tokio::test]
async fn heads_have_no_body_and_trailing_slashes_do_not_matter() {
    let world = World::logged_in().await;
    let head = world
        .client
        .send(Method::HEAD, "/v3/apps", &[], Body::empty())
        .await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    let slash = world.client.read("/v3/apps/?names=x").await;
    assert!(
        slash["pagination"]["first"]["href"]
            .as_str()
            .expect("a link")
            .starts_with("http://127.0.0.1:8080/v3/apps?page=1")
    );
}

#[tokio::test]
async fn links_never_lead_to_a_host_that_a_stranger_named() {
    let world = World::logged_in().await;
    let foreign = world.client.with_host("evil.example").read("/").await;
    assert_eq!(
        foreign["links"]["login"]["href"],
        "http://api.localhost:8080"
    );
    let own = world
        .client
        .with_host("api.localhost:8080")
        .read("/v3/apps")
        .await;
    assert_eq!(
        own["pagination"]["first"]["href"],
        "http://api.localhost:8080/v3/apps?page=1&per_page=50"
    );
}

#[tokio::test]
async fn bodies_that_cannot_be_are_refused_without_repeating_them() {
    let world = World::logged_in().await;
    let space = world.space().await;
    let post = |path: &'static str, body: String| {
        let client = world.client.clone();
        async move {
            client
                .send(
                    Method::POST,
                    path,
                    &[("content-type", "application/json")],
                    body,
                )
                .await
        }
    };
    assert_eq!(
        post("/v3/apps", "{".into()).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        post("/v3/apps", String::new()).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        post("/v3/apps", "{}".into()).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let large = post("/v3/apps", format!("\"{}\"", "x".repeat(1024 * 1024))).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    let secret = json!({
        "type": "user-provided", "name": "db", "credentials": "mongodb://u:hunter2@db",
        "relationships": { "space": { "data": { "guid": space } } }
    });
    let answer = post("/v3/service_instances", secret.to_string()).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!answer.text.contains("hunter2"), "{answer:?}");
    let nobody = json!({ "name": "a", "relationships": { "space": { "data": { "guid": "x" } } } });
    assert!(
        post("/v3/apps", nobody.to_string())
            .await
            .detail()
            .starts_with("Invalid space.")
    );
}

#[tokio::test]
async fn lists_refuse_what_they_do_not_know() {
    let world = World::logged_in().await;
    for (path, part) in [
        ("/v3/apps?nmaes=x", "Unknown query parameter(s): 'nmaes'"),
        (
            "/v3/apps?per_page=5001",
            "Per page must be between 1 and 5000",
        ),
        ("/v3/apps?page=0", "Page must be greater than 0"),
        ("/v3/apps?order_by=color", "Order by can only be"),
        ("/v3/processes?embed=moon", "embedded"),
        ("/v3/apps?names=%ff", "not UTF-8"),
    ] {
        let answer = world.client.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        let error = &answer.json()["errors"][0];
        assert_eq!(
            (&error["code"], &error["title"]),
            (&json!(10005), &json!("CF-BadQueryParameter")),
            "{path}"
        );
        assert!(answer.detail().contains(part), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn lists_page_and_filter() {
    let world = World::logged_in().await;
    for name in ["a,b", "c", "d"] {
        world.new_app(name).await;
    }
    let names = |list: &serde_json::Value| {
        let all = list["resources"].as_array().expect("a list").iter();
        all.map(|app| app["name"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    let first = world.client.read("/v3/apps?order_by=name&per_page=2").await;
    assert_eq!(names(&first), ["a,b", "c"]);
    let next = first["pagination"]["next"]["href"]
        .as_str()
        .expect("a second page");
    let second = world
        .client
        .read(
            next.strip_prefix("http://127.0.0.1:8080")
                .expect("absolute"),
        )
        .await;
    assert_eq!(names(&second), ["d"]);
    assert_eq!(second["pagination"]["next"], json!(null));
    assert_eq!(
        names(&world.client.read("/v3/apps?names=a%252Cb,c").await),
        ["a,b", "c"]
    );
    assert_eq!(
        names(&world.client.read("/v3/apps?guids=nonsense").await),
        Vec::<String>::new()
    );
    assert_eq!(
        names(&world.client.read("/v3/apps?per_page=5000&page=9").await),
        Vec::<String>::new()
    );
    let same = json!({ "name": "c", "relationships": { "space": { "data": { "guid": world.space().await } } } });
    let taken = world.client.post("/v3/apps", &same).await;
    assert_eq!(taken.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        taken
            .detail()
            .contains("App with the name 'c' already exists."),
        "{taken:?}"
    );
}

#[tokio::test]
async fn cf_finds_the_lists_that_it_asks_for_on_the_way() {
    let world = World::logged_in().await;
    for path in [
        "/v3/buildpacks",
        "/v3/stacks",
        "/v3/feature_flags",
        "/v3/service_plans?available=true",
        "/v3/service_offerings",
        "/v3/service_route_bindings?include=service_instance&route_guids=x",
        "/v3/isolation_segments",
        "/v3/service_brokers",
        "/v3/organization_quotas",
        "/v3/space_quotas?organization_guids=x",
        "/v3/security_groups",
        "/v3/roles?include=user&organization_guids=x",
        "/v3/deployments?app_guids=x&order_by=-created_at&page=1&per_page=1&status_values=ACTIVE",
        "/v3/audit_events?order_by=-created_at&page=1",
        "/v3/domains",
        "/v3/routes?per_page=5000",
    ] {
        let list = world.client.read(path).await;
        assert!(
            list["resources"].is_array() && list["pagination"]["next"].is_null(),
            "{path}: {list}"
        );
    }
    let space = world.space().await;
    for kind in ["running", "staging"] {
        let groups = format!("/v3/spaces/{space}/{kind}_security_groups");
        assert_eq!(world.client.read(&groups).await["resources"], json!([]));
    }
    let flags = world
        .client
        .read("/v3/feature_flags/service_instance_sharing")
        .await;
    assert_eq!(flags["enabled"], json!(false));
    let names = world.client.read("/v3/buildpacks").await;
    assert_eq!(names["resources"][0]["name"], "java");
    let app = world.new_app("a").await;
    assert_eq!(
        world
            .client
            .read(&format!("/v3/apps/{app}/features/revisions"))
            .await["enabled"],
        json!(true)
    );
    assert_eq!(
        Client::ok(
            &world
                .client
                .get(&format!("/v3/apps/{app}/ssh_enabled"))
                .await
        )["enabled"],
        json!(false)
    );
}

#[tokio::test]
async fn variables_that_are_set_at_the_same_moment_are_all_kept() {
    let world = World::logged_in().await;
    let app = world.new_app("variables").await;
    let path = format!("/v3/apps/{app}/environment_variables");
    let bodies = (0..8).map(|number| json!({ "var": { format!("V{number}"): "x" } }));
    let bodies = bodies.collect::<Vec<_>>();
    let answers = bodies.iter().map(|body| world.client.patch(&path, body));
    for answer in futures_util::future::join_all(answers).await {
        Client::ok(&answer);
    }
    let known = world.client.read(&path).await;
    assert_eq!(known["var"].as_object().map(serde_json::Map::len), Some(8));
}
