//! Tokens, retries, pages, and what is said where the way in is closed.

use http::Method;
use serde_json::json;

use super::Home;
use super::scripted::{self, Server};
use crate::client::Call;
use crate::config::Config;
use crate::environment::Environment;
use crate::error::CliError;
use crate::ui::Ui;

#[tokio::test]
async fn a_token_that_is_about_to_end_is_renewed_and_stored() {
    let home = Home::with(Server::pushing());
    let config = ended(&home);
    config.save(&home.config_path()).expect("stored");
    let cx = home
        .open_as(config, Environment::default())
        .await
        .expect("opened");
    cx.client
        .list::<api_types::App>(crate::client::Query::of("/v3/apps"))
        .await
        .expect("listed");
    let calls = home.server.calls();
    assert_eq!(calls[0].line(), "POST /uaa/oauth/token");
    assert_eq!(calls[0].header("authorization"), Some("Basic Y2Y6"));
    assert!(
        calls[0]
            .text()
            .contains("grant_type=refresh_token&refresh_token=refresh-1"),
        "{}",
        calls[0].text()
    );
    let after = Config::load(&home.config_path()).expect("stored");
    assert_eq!(
        after.access_token.expect("a token").expose(),
        &scripted::token(4_102_444_800)
    );
}

/// A login whose token has ended.
fn ended(home: &Home) -> Config {
    let api = home.server.url();
    Config {
        login_url: Some(format!("{api}/uaa")),
        log_cache_url: Some(format!("{api}/logs")),
        api: Some(api),
        access_token: Some(scripted::token(1).into()),
        refresh_token: Some("refresh-1".to_owned().into()),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_renewed_token_is_not_stored_over_what_another_command_stored_meanwhile() {
    let home = Home::with(Server::pushing());
    let elsewhere = Config {
        api: Some("http://other.example.com".into()),
        ..ended(&home)
    };
    let logged_out = Config {
        access_token: None,
        refresh_token: None,
        ..ended(&home)
    };
    let renewed = Config {
        refresh_token: Some("refresh-3".to_owned().into()),
        ..ended(&home)
    };
    for meanwhile in [elsewhere, logged_out, renewed] {
        let cx = home
            .open_as(ended(&home), Environment::default())
            .await
            .expect("opened");
        meanwhile.save(&home.config_path()).expect("stored");
        let _: serde_json::Value = cx.client.get("/v3/apps").await.expect("renewed");
        let after = Config::load(&home.config_path()).expect("stored");
        assert_eq!(after, meanwhile);
    }
    assert_eq!(home.server.calls()[0].line(), "POST /uaa/oauth/token");
}

#[tokio::test]
async fn a_target_of_one_server_is_not_stored_with_the_login_to_another() {
    let space = json!({"resources": [{"guid": "space-2", "name": "prod"}]});
    let home = Home::with(Server::pushing().answering("GET /v3/spaces", space));
    let command = || crate::commands::target::TargetCommand {
        org: None,
        space: Some("prod".into()),
    };
    let cx = home.open().await.expect("logged in");
    let other = Config {
        api: Some("http://other.example.com".into()),
        access_token: Some("other".to_owned().into()),
        ..Config::default()
    };
    other.save(&home.config_path()).expect("stored");
    let error = command().run(&cx).await.expect_err("refused");
    assert!(
        error.message.contains(&home.server.url())
            && error.message.contains("http://other.example.com"),
        "{error}"
    );
    assert_eq!(Config::load(&home.config_path()).expect("stored"), other);
    cx.config.save(&home.config_path()).expect("stored");
    command().run(&cx).await.expect("stored");
    let after = Config::load(&home.config_path()).expect("stored");
    assert_eq!(after.space.expect("a space").name, "prod");
    assert_eq!(after.access_token, cx.config.access_token);
}

/// The clock of this machine goes behind the server's, so the token seems to last.
#[tokio::test]
async fn a_token_that_the_server_refuses_is_renewed_once() {
    let behind = scripted::token(4_102_444_799);
    let home = Home::with(Server::pushing().refusing(&behind));
    let config = Config {
        access_token: Some(behind.into()),
        ..ended(&home)
    };
    config.save(&home.config_path()).expect("stored");
    let open = |environment| home.open_as(config.clone(), environment);
    let cx = open(Environment::default()).await.expect("opened");
    let _: serde_json::Value = cx.client.get("/v3/apps").await.expect("renewed");
    let lines: Vec<_> = home.server.calls().iter().map(|call| call.line()).collect();
    assert_eq!(
        lines,
        ["GET /v3/apps", "POST /uaa/oauth/token", "GET /v3/apps"]
    );
    let after = Config::load(&home.config_path()).expect("stored");
    assert_eq!(after.refresh_token, Some("refresh-2".to_owned().into()));
    // A token from the environment cannot be renewed.
    let environment = Environment {
        token: config.access_token.clone(),
        ..Environment::default()
    };
    let cx = open(environment).await.expect("opened");
    let refused: Result<serde_json::Value, CliError> = cx.client.get("/v3/apps").await;
    assert_eq!(refused.expect_err("refused").code, "E-LOGIN");
    assert_eq!(home.server.calls().len(), 4);
}

#[tokio::test]
async fn a_password_of_the_environment_helps_where_the_stored_login_has_ended() {
    let home = Home::with(Server::pushing().refusing("refresh-1"));
    let config = ended(&home);
    config.save(&home.config_path()).expect("stored");
    let open = |environment| home.open_as(config.clone(), environment);
    let cx = open(Environment::default()).await.expect("opened");
    let refused: Result<serde_json::Value, CliError> = cx.client.get("/v3/apps").await;
    assert_eq!(refused.expect_err("ended").code, "E-LOGIN");
    let environment = Environment {
        username: Some("ci".into()),
        password: Some("hunter2".to_owned().into()),
        ..Environment::default()
    };
    let cx = open(environment).await.expect("opened");
    let _: serde_json::Value = cx.client.get("/v3/apps").await.expect("logged in");
    let asked = home
        .server
        .calls()
        .iter()
        .any(|call| call.text().contains("username=ci"));
    assert!(asked, "with the password");
    assert_eq!(
        Config::load(&home.config_path()).expect("stored"),
        config,
        "the stored login is somebody else's"
    );
}

#[tokio::test]
async fn logging_in_again_does_not_move_the_target() {
    let named = |name: &str| json!({"resources": [{"guid": name, "name": name}]});
    let both =
        json!({"resources": [{"guid": "dev", "name": "dev"}, {"guid": "prod", "name": "prod"}]});
    let server = Server::pushing()
        .answering("GET /v3/organizations?names=main", named("main"))
        .answering("GET /v3/organizations", named("main"))
        .answering("GET /v3/spaces?names=prod", named("prod"))
        .answering("GET /v3/spaces?names=gone", json!({"resources": []}))
        .answering("GET /v3/spaces", both);
    let home = Home::with(server);
    for (user, space, want) in [
        ("admin", "prod", "prod"),
        ("admin", "gone", "dev"),
        ("other", "prod", "dev"),
    ] {
        let target = |name: &str| {
            Some(crate::config::Named {
                guid: name.into(),
                name: name.into(),
            })
        };
        let stored = Config {
            user: Some("admin".into()),
            org: target("main"),
            space: target(space),
            ..ended(&home)
        };
        stored.save(&home.config_path()).expect("stored");
        let login = crate::commands::login::Login {
            api: None,
            user: Some(user.into()),
            password: Some("hunter2".into()),
            org: None,
            space: None,
        };
        login
            .with(&Ui::silent(), &home.config_path(), Environment::default())
            .await
            .expect("logged in");
        let after = Config::load(&home.config_path()).expect("stored");
        assert_eq!(after.space.expect("a space").name, want, "{user} {space}");
    }
}

#[tokio::test]
async fn a_wrong_password_ends_with_4_and_says_where_the_first_one_lies() {
    let server = Server::pushing().failing(
        "POST /uaa/oauth/token",
        401,
        json!({"error": "unauthorized", "error_description": "Bad credentials"}),
    );
    let home = Home::with(server);
    let config = Config {
        api: Some(home.server.url()),
        ..Config::default()
    };
    let environment = Environment {
        username: Some("admin".into()),
        password: Some("hunter2".to_owned().into()),
        ..Environment::default()
    };
    let cx = home.open_as(config, environment).await.expect("opened");
    let error = cx.target().await.expect_err("refused");
    assert_eq!(error.exit_code(), 4);
    let shown = error.to_string().replace(&home.server.url(), "http://API");
    insta::assert_snapshot!(shown, @r"
    ✗ E-CRED user or password not accepted
      the admin's first password is in server/admin-password in the platform's data folder
      try        slipway login -a http://API -u admin
    ");
}

#[tokio::test]
async fn without_a_login_the_way_in_is_named() {
    let home = Home::with(Server::pushing());
    let config = Config {
        api: Some(home.server.url()),
        ..Config::default()
    };
    let cx = home
        .open_as(config, Environment::default())
        .await
        .expect("opened");
    let error = cx.target().await.expect_err("not logged in");
    assert_eq!((error.code.as_str(), error.exit_code()), ("E-LOGIN", 4));
    assert!(
        error.hints.iter().any(|hint| hint == "slipway login"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_ends_with_69_after_three_tries() {
    let home = Home::with(Server::pushing());
    let cx = home.open().await.expect("logged in");
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let client = crate::client::Client::new(
        format!("http://{free}"),
        crate::client::Tokens::default(),
        cx.ui.clone(),
    );
    let error = crate::context::root(&client)
        .await
        .expect_err("nobody there");
    assert_eq!((error.code.as_str(), error.exit_code()), ("E-SERVER", 69));
    assert!(
        error.message.contains("connection refused (3 tries"),
        "{error}"
    );
    assert!(
        error.hints.iter().any(|hint| hint == "slipway up"),
        "{error}"
    );
}

#[tokio::test]
async fn a_get_is_tried_again_and_a_post_is_not() {
    let server = Server::pushing()
        .failing("GET /v3/domains", 503, json!({"errors": []}))
        .failing("POST /v3/routes", 503, json!({"errors": []}));
    let home = Home::with(server);
    let cx = home.open().await.expect("logged in");
    assert_eq!(
        cx.client
            .find_domain("x")
            .await
            .expect_err("503")
            .exit_code(),
        69
    );
    let posted: Result<serde_json::Value, CliError> =
        cx.client.post("/v3/routes", &json!({})).await;
    assert_eq!(posted.expect_err("503").exit_code(), 69);
    let count = |start: &str| {
        home.server
            .calls()
            .iter()
            .filter(|call| call.line().starts_with(start))
            .count()
    };
    assert_eq!((count("GET /v3/domains"), count("POST /v3/routes")), (3, 1));
}

#[tokio::test]
async fn lists_are_read_to_their_end_at_the_host_that_was_chosen() {
    let app = |name: &str| json!({"guid": name, "name": name});
    let server = Server::pushing()
        .answering("GET /v3/apps?order", json!({"pagination": {"next": {"href": "http://elsewhere.invalid/v3/apps?page=2"}}, "resources": [app("a")]}))
        .answering("GET /v3/apps?page=2", json!({"pagination": {"next": null}, "resources": [app("b")]}));
    let home = Home::with(server);
    let cx = home.open().await.expect("logged in");
    let query = crate::client::Query::of("/v3/apps").with("order_by", "name");
    let apps: Vec<api_types::App> = cx.client.list(query).await.expect("both pages");
    assert_eq!(
        apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[tokio::test]
async fn an_app_with_a_similar_name_is_suggested() {
    let server = Server::pushing().answering("GET /v3/apps?names=helo", json!({"resources": []}));
    let home = Home::with(server);
    let cx = home.open().await.expect("logged in");
    let error = cx.app("helo").await.expect_err("not there");
    assert_eq!(error.exit_code(), 5);
    assert_eq!(error.hints, ["did you mean 'hello'?", "slipway apps"]);
}

#[tokio::test]
async fn what_cannot_be_sent_is_told_before_any_try() {
    let home = Home::with(Server::pushing());
    let cx = home.open().await.expect("logged in");
    let get = |path: &str| Call::new(Method::GET, cx.client.at(path));
    for (call, named) in [
        (get("/v3/apps?names=my app"), "'/v3/apps?names=my app'"),
        (get("/v3/apps").header("a b", "c"), "'a b'"),
    ] {
        let error = cx.client.send(call).await.expect_err("refused");
        assert_eq!((error.code.as_str(), error.exit_code()), ("E-USAGE", 2));
        assert!(error.message.contains(named), "{error}");
    }
    let environment = Environment {
        token: Some("one\ntwo".to_owned().into()),
        ..Environment::default()
    };
    let cx = home.open_with(environment).await.expect("opened");
    let error = cx.client.send(get("/v3/apps")).await.expect_err("refused");
    assert!(
        error.message.contains("the token") && !error.message.contains("two"),
        "{error}"
    );
    assert!(home.server.calls().is_empty());
}
