//! Services, bindings, env and routes, as `cups`, `bind-service`, `set-env` and `map-route` use them.

use http::StatusCode;
use serde_json::json;

use crate::client::{Answer, Client};
use crate::world::{Options, World};

#[tokio::test]
async fn a_bound_service_is_in_the_env_and_its_secrets_nowhere_else() {
    let world = World::logged_in().await;
    let (app, space) = (world.new_app("hello").await, world.space().await);
    let body = json!({
        "type": "user-provided", "name": "mongo", "credentials": { "uri": "mongodb://u:hunter2@db/x" },
        "relationships": { "space": { "data": { "guid": space } } }
    });
    let created = world.client.post("/v3/service_instances", &body).await;
    assert_eq!(
        (created.status, created.header("location")),
        (StatusCode::CREATED, None)
    );
    assert!(!created.text.contains("hunter2"));
    assert!(
        world
            .client
            .post("/v3/service_instances", &body)
            .await
            .detail()
            .contains("The service instance name is taken")
    );
    let instance = created.json()["guid"].as_str().expect("a GUID").to_owned();
    let fields = "fields%5Bspace%5D=name%2Cguid&fields%5Bspace.organization%5D=name";
    let list =
        format!("/v3/service_instances?{fields}&order_by=name&per_page=5000&space_guids={space}");
    let listed = world.client.read(&list).await;
    assert_eq!(listed["included"]["spaces"][0]["name"], "dev");
    assert_eq!(listed["included"]["organizations"][0]["name"], "main");

    let bind = json!({ "type": "app", "relationships": {
        "app": { "data": { "guid": app } }, "service_instance": { "data": { "guid": instance } } } });
    let bound = world
        .client
        .post("/v3/service_credential_bindings", &bind)
        .await;
    assert_eq!(
        (bound.status, bound.header("location")),
        (StatusCode::CREATED, None),
        "{bound:?}"
    );
    let again = world
        .client
        .post("/v3/service_credential_bindings", &bind)
        .await;
    assert!(
        again
            .detail()
            .contains("The app is already bound to the service instance")
    );
    let list = format!(
        "/v3/service_credential_bindings?include=app&service_instance_guids={instance}&type=app"
    );
    let bindings = world.client.read(&list).await;
    assert_eq!(bindings["included"]["apps"][0]["name"], "hello");
    assert_eq!(
        world
            .client
            .read("/v3/service_credential_bindings?type=key")
            .await["resources"],
        json!([])
    );

    let env = world.client.read(&format!("/v3/apps/{app}/env")).await;
    assert_eq!(
        env["system_env_json"]["VCAP_SERVICES"]["user-provided"][0]["credentials"]["uri"],
        "mongodb://u:hunter2@db/x"
    );
    assert_eq!(
        env["application_env_json"]["VCAP_APPLICATION"]["application_name"],
        "hello"
    );
    let refused = world
        .client
        .delete(&format!("/v3/service_instances/{instance}"))
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let binding = bound.json()["guid"].as_str().expect("a GUID").to_owned();
    let details = world
        .client
        .read(&format!(
            "/v3/service_credential_bindings/{binding}/details"
        ))
        .await;
    assert_eq!(details["credentials"]["uri"], "mongodb://u:hunter2@db/x");
    assert_eq!(
        world
            .client
            .delete(&format!("/v3/service_credential_bindings/{binding}"))
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        world
            .client
            .delete(&format!("/v3/service_instances/{instance}"))
            .await
            .status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn variables_survive_byte_for_byte() {
    let world = World::logged_in().await;
    let app = world.new_app("hello").await;
    let path = format!("/v3/apps/{app}/environment_variables");
    let odd = "a $HOME \"quoted\" 'single' \\ line\nbreak\ttab é 日本 %2C,";
    let set = world
        .client
        .patch(&path, &json!({ "var": { "ODD": odd, "GONE": "x" } }))
        .await;
    assert_eq!(Client::ok(&set)["var"]["ODD"], odd);
    world
        .client
        .patch(&path, &json!({ "var": { "GONE": null } }))
        .await;
    assert_eq!(world.client.read(&path).await["var"], json!({ "ODD": odd }));
    let refused = world
        .client
        .patch(&path, &json!({ "var": { "PORT": "1" } }))
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
}

/// A wish for a route, and what it is answered.
async fn create_route(world: &World, domain: &str, host: &str, path: &str) -> Answer {
    let filter = format!("/v3/domains?names={domain}");
    let domain = world.client.read(&filter).await["resources"][0]["guid"].clone();
    let body = json!({ "host": host, "path": path, "relationships": {
        "space": { "data": { "guid": world.space().await } }, "domain": { "data": { "guid": domain } } } });
    world.client.post("/v3/routes", &body).await
}

#[tokio::test]
async fn a_route_is_the_same_with_and_without_slashes_at_its_end() {
    let world = World::logged_in().await;
    for (path, kept) in [("/x/", "/x"), ("/y//", "/y"), ("/z", "/z")] {
        let made = create_route(&world, "localhost", "a", path).await;
        assert_eq!(Client::ok(&made)["path"], kept, "{path}");
        for again in [kept.to_owned(), format!("{kept}/"), format!("{kept}///")] {
            let taken = create_route(&world, "localhost", "a", &again).await;
            assert_eq!(taken.status, StatusCode::UNPROCESSABLE_ENTITY);
            assert!(taken.detail().contains("already exists"), "{taken:?}");
            let found = world
                .client
                .read(&format!("/v3/routes?paths={again}"))
                .await;
            assert_eq!(found["pagination"]["total_results"], 1, "{again}");
        }
    }
    for path in ["/", "//"] {
        let refused = create_route(&world, "localhost", "b", path).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(
            refused.detail().contains("more than slashes"),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn an_address_belongs_to_one_route_however_it_is_split_into_host_and_domain() {
    let world = World::logged_in().await;
    Client::ok(&create_route(&world, "localhost", "a.b", "/x").await);
    let domain = "b.localhost";
    let mut world = world
        .restarted_with(Options {
            domain,
            ..Options::default()
        })
        .await;
    world.client.token = Some(world.log_in().await);
    let taken = create_route(&world, domain, "a", "/x").await;
    assert_eq!(taken.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(taken.detail().contains("already exists"), "{taken:?}");
    Client::ok(&create_route(&world, domain, "a", "").await);
    Client::ok(&create_route(&world, domain, "c", "/x").await);
    // Its own domain as a whole is a platform's own address.
    let mut world = world.restarted().await;
    world.client.token = Some(world.log_in().await);
    Client::ok(&create_route(&world, domain, "", "/x").await);
    let taken = create_route(&world, "localhost", "b", "/x").await;
    assert!(taken.detail().contains("already exists"), "{taken:?}");
}

#[tokio::test]
async fn routes_are_found_by_exactly_empty_hosts_and_paths() {
    let world = World::logged_in().await;
    let (app, space) = (world.new_app("hello").await, world.space().await);
    let domains = world
        .client
        .read("/v3/domains?names=localhost&page=1&per_page=1")
        .await;
    let domain = domains["resources"][0]["guid"]
        .as_str()
        .expect("a domain")
        .to_owned();
    let route = |host: &str, path: &str| {
        json!({ "host": host, "path": path, "relationships": {
        "space": { "data": { "guid": space } }, "domain": { "data": { "guid": domain } } } })
    };
    let plain = world.client.post("/v3/routes", &route("hello", "")).await;
    assert_eq!(plain.status, StatusCode::CREATED, "{plain:?}");
    assert_eq!(plain.json()["url"], "hello.localhost:8080");
    let deep = world
        .client
        .post("/v3/routes", &route("hello", "/deep"))
        .await;
    assert_eq!(deep.json()["url"], "hello.localhost:8080/deep");
    assert!(
        world
            .client
            .post("/v3/routes", &route("hello", ""))
            .await
            .detail()
            .contains("Route already exists")
    );
    assert_eq!(
        world
            .client
            .post("/v3/routes", &route("api", ""))
            .await
            .status,
        StatusCode::UNPROCESSABLE_ENTITY
    );

    let found = world
        .client
        .read(&format!(
            "/v3/routes?domain_guids={domain}&hosts=hello&paths=&page=1&per_page=5"
        ))
        .await;
    assert_eq!(
        found["resources"].as_array().map(Vec::len),
        Some(1),
        "{found}"
    );
    assert_eq!(found["resources"][0]["path"], "");
    let bare = world
        .client
        .read(&format!("/v3/routes?domain_guids={domain}&hosts=&paths="))
        .await;
    assert_eq!(bare["resources"], json!([]));
    let taken = world
        .client
        .read(&format!(
            "/v3/domains/{domain}/route_reservations?host=hello&path=%2Fdeep"
        ))
        .await;
    assert_eq!(taken, json!({ "matching_route": true }));
    let free = world
        .client
        .read(&format!(
            "/v3/domains/{domain}/route_reservations?host=other"
        ))
        .await;
    assert_eq!(free, json!({ "matching_route": false }));

    let guid = plain.json()["guid"].as_str().expect("a GUID").to_owned();
    let body = json!({ "destinations": [{ "app": { "guid": app } }] });
    let mapped = world
        .client
        .post(&format!("/v3/routes/{guid}/destinations"), &body)
        .await;
    let destination = Client::ok(&mapped)["destinations"][0].clone();
    assert_eq!(
        destination["app"],
        json!({ "guid": app, "process": { "type": "web" } })
    );
    let of_app = world.client.read(&format!("/v3/apps/{app}/routes")).await;
    assert_eq!(of_app["resources"][0]["guid"], json!(guid));
    let destination = destination["guid"].as_str().expect("a GUID").to_owned();
    let gone = world
        .client
        .delete(&format!("/v3/routes/{guid}/destinations/{destination}"))
        .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let deleted = world
        .client
        .delete(&format!("/v3/spaces/{space}/routes?unmapped=true"))
        .await;
    assert_eq!(world.client.job(&deleted).await["state"], "COMPLETE");
    assert_eq!(
        world.client.read("/v3/routes").await["resources"],
        json!([])
    );
}
