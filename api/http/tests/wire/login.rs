//! UAA's part: who may come in, and with what.

use http::StatusCode;
use serde_json::json;

use crate::client::Client;
use crate::world::{Options, World};

#[tokio::test]
async fn cf_finds_its_way_from_the_root_document_to_a_target() {
    let mut world = World::new().await;
    let root = world.client.read("/").await;
    let links = &root["links"];
    assert_eq!(
        links["cloud_controller_v3"],
        json!({ "href": "http://127.0.0.1:8080/v3", "meta": { "version": "3.211.0" } })
    );
    for name in ["login", "uaa", "log_cache"] {
        assert_eq!(links[name]["href"], "http://127.0.0.1:8080", "{name}");
    }
    assert!(root.get("cf_on_k8s").is_none());
    let prompts = world.client.read("/login").await["prompts"].clone();
    assert_eq!(prompts["password"], json!(["password", "Password"]));
    assert_eq!(prompts["username"][0], "text");

    world.client.token = Some(world.log_in().await);
    let orgs = world.client.read("/v3/organizations?order_by=name").await;
    assert_eq!(orgs["resources"].as_array().map(Vec::len), Some(1));
    assert_eq!(orgs["pagination"]["next"], json!(null));
    let org = orgs["resources"][0]["guid"].as_str().expect("a GUID");
    let spaces = world
        .client
        .read(&format!(
            "/v3/spaces?order_by=name&organization_guids={org}"
        ))
        .await;
    assert_eq!(spaces["resources"][0]["name"], "dev");
    let with_org = world.client.read("/v3/spaces?include=organization").await;
    assert_eq!(with_org["included"]["organizations"][0]["name"], "main");
}

#[tokio::test]
async fn tokens_are_lowercase_bearers_that_can_be_refreshed() {
    let world = World::new().await;
    let answer = world
        .client
        .form(
            "/oauth/token",
            "grant_type=password&username=admin&password=correct%20horse",
        )
        .await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let tokens = Client::ok(&answer);
    assert_eq!(tokens["token_type"], "bearer");
    assert!(tokens["expires_in"].as_u64().expect("seconds") > 60);
    let refresh = tokens["refresh_token"].as_str().expect("a token");
    let as_access = world.client.with_token(refresh);
    assert_eq!(
        as_access.get("/v3/apps").await.status,
        StatusCode::UNAUTHORIZED,
        "a refresh token opens nothing"
    );

    let again = world
        .client
        .form(
            "/oauth/token",
            &format!("grant_type=refresh_token&refresh_token={refresh}"),
        )
        .await;
    let token = Client::ok(&again)["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let access = world.client.with_token(&token);
    assert_eq!(access.get("/v3/apps").await.status, StatusCode::OK);
    let refused = world
        .client
        .form(
            "/oauth/token",
            &format!("grant_type=refresh_token&refresh_token={token}"),
        )
        .await;
    assert_eq!(
        (refused.status, &refused.json()["error"]),
        (StatusCode::UNAUTHORIZED, &json!("invalid_token"))
    );
    let keys = world.client.read("/token_keys").await;
    assert_eq!(keys["keys"][0]["alg"], "ES256");
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_hear_the_same_and_are_locked_out_in_the_end() {
    let mut world = World::new().await;
    world.client.address = Some("192.0.2.1".parse().expect("an address"));
    let client = world.client.clone();
    let attempt = |user: &'static str, password: &'static str| {
        let client = client.clone();
        async move {
            client
                .form(
                    "/oauth/token",
                    &format!("grant_type=password&username={user}&password={password}"),
                )
                .await
        }
    };
    let (known, unknown) = (attempt("admin", "x").await, attempt("nobody", "x").await);
    assert_eq!(known.status, StatusCode::UNAUTHORIZED);
    assert_eq!((known.status, &known.text), (unknown.status, &unknown.text));
    let mut last = known;
    for _ in 0..6 {
        last = attempt("admin", "x").await;
    }
    let locked = "Your account has been locked because of too many failed attempts to login.";
    assert_eq!(last.json()["error_description"], locked);
    assert_eq!(
        attempt("admin", "correct+horse").await.json()["error_description"],
        locked,
        "also with the right password"
    );
    // Somebody elsewhere is not locked out by it.
    world.client.address = Some("192.0.2.2".parse().expect("an address"));
    world.log_in().await;
}

#[tokio::test]
async fn other_clients_and_grants_are_refused() {
    let world = World::new().await;
    let form = "grant_type=password&username=admin&password=correct+horse";
    let post = |headers: Vec<(&'static str, &'static str)>, body: &'static str| {
        let client = world.client.clone();
        async move {
            client
                .send(http::Method::POST, "/oauth/token", &headers, body)
                .await
        }
    };
    for (headers, body, error) in [
        (
            vec![("authorization", "Basic ZXZpbDo=")],
            form,
            "invalid_client",
        ),
        (vec![], form, "invalid_client"),
        (
            vec![("authorization", "Basic Y2Y6")],
            "grant_type=client_credentials",
            "unsupported_grant_type",
        ),
        (
            vec![("authorization", "Basic Y2Y6")],
            "username=admin",
            "invalid_request",
        ),
        (
            vec![("authorization", "Basic Y2Y6")],
            "grant_type=password",
            "unauthorized",
        ),
        (
            vec![("authorization", "Basic Y2Y6")],
            "%ff=%ff",
            "invalid_request",
        ),
    ] {
        let answer = post(headers, body).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        assert_eq!(answer.json()["error"], error, "{body}");
    }
    let long = world.client.form("/oauth/token", &"x".repeat(70_000)).await;
    assert_eq!(long.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn requests_without_or_with_a_bad_token_hear_what_cf_knows() {
    let world = World::new().await;
    let none = world.client.get("/v3/apps").await;
    assert_eq!(
        (none.status, none.json()["errors"][0]["title"].clone()),
        (StatusCode::UNAUTHORIZED, json!("CF-NotAuthenticated"))
    );
    let bad = world.client.with_token("a.b.c").get("/v3/apps").await;
    assert_eq!(
        (bad.status, bad.json()["errors"][0]["title"].clone()),
        (StatusCode::UNAUTHORIZED, json!("CF-InvalidAuthToken"))
    );
}

#[tokio::test]
async fn refresh_tokens_end_when_the_password_changes() {
    let world = World::new().await;
    let form = "grant_type=password&username=admin&password=correct%20horse";
    let tokens = Client::ok(&world.client.form("/oauth/token", form).await);
    let refresh = format!(
        "grant_type=refresh_token&refresh_token={}",
        tokens["refresh_token"].as_str().expect("a token")
    );
    // The same password once more changes nothing.
    let world = world.restarted().await;
    Client::ok(&world.client.form("/oauth/token", &refresh).await);
    let password = "battery staple";
    let world = world
        .restarted_with(Options {
            password,
            ..Options::default()
        })
        .await;
    let refused = world.client.form("/oauth/token", &refresh).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{refused:?}");
    assert_eq!(refused.json()["error"], "invalid_token");
    let form = "grant_type=password&username=admin&password=battery%20staple";
    Client::ok(&world.client.form("/oauth/token", form).await);
}
