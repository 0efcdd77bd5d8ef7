//! The client against a small server that records every call.

mod scripted;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use scripted::{Server, json_body};
use serde_json::json;

use crate::config::Config;
use crate::context::Context;
use crate::environment::Environment;
use crate::error::{CliError, Outcome};
use crate::push::{self, PushOptions};
use crate::ui::Ui;

/// A context as after `login`, with its own folder for the configuration.
struct Home {
    folder: tempfile::TempDir,
    server: Server,
}

impl Home {
    fn with(server: Server) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            server,
        }
    }

    fn config_path(&self) -> PathBuf {
        self.folder.path().join("config.json")
    }

    async fn open(&self) -> Outcome<Context> {
        self.open_with(Environment::default()).await
    }

    async fn open_with(&self, environment: Environment) -> Outcome<Context> {
        let api = self.server.url();
        let named = |guid: &str, name: &str| {
            Some(crate::config::Named {
                guid: guid.into(),
                name: name.into(),
            })
        };
        let config = Config {
            api: Some(api.clone()),
            login_url: Some(format!("{api}/uaa")),
            log_cache_url: Some(format!("{api}/logs")),
            user: Some("admin".into()),
            org: named("org-1", "main"),
            space: named("space-1", "dev"),
            access_token: Some(scripted::token(4_102_444_800).into()),
            refresh_token: Some("refresh-1".to_owned().into()),
            ..Config::default()
        };
        Context::with(Ui::silent(), config, self.config_path(), environment).await
    }
}

fn app_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("src")).expect("made");
    for (path, text) in [
        ("pom.xml", "<project/>"),
        ("src/Main.java", "class Main {}"),
        ("empty.txt", ""),
    ] {
        fs::write(folder.path().join(path), text).expect("written");
    }
    folder
}

fn options(folder: &tempfile::TempDir) -> PushOptions {
    PushOptions {
        path: Some(folder.path().to_owned()),
        app: Some("hello".into()),
        no_manifest: true,
        ..PushOptions::default()
    }
}

/// `needles` in this order among `calls`, others between them.
fn assert_order(calls: &[String], needles: &[&str]) {
    let mut rest = calls.iter();
    for needle in needles {
        assert!(
            rest.any(|call| call.starts_with(needle)),
            "'{needle}' is missing or too early in\n{}",
            calls.join("\n")
        );
    }
}

#[tokio::test]
async fn a_push_makes_cfs_calls_in_cfs_order() {
    let home = Home::with(Server::pushing());
    let cx = home.open().await.expect("logged in");
    let folder = app_folder();
    fs::write(
        folder.path().join("manifest.yml"),
        "applications:\n- name: hello\n  env: {A: '$x \"q\" ä'}\n",
    )
    .expect("written");
    let with_manifest = PushOptions {
        no_manifest: false,
        manifest: Some(folder.path().join("manifest.yml")),
        ..options(&folder)
    };
    push::push(&cx, &with_manifest).await.expect("pushed");
    let calls = home.server.calls();
    let lines: Vec<_> = calls.iter().map(|call| call.line()).collect();
    assert_order(
        &lines,
        &[
            "POST /v3/spaces/space-1/manifest_diff",
            "POST /v3/spaces/space-1/actions/apply_manifest",
            "GET /v3/jobs/job-1",
            "GET /v3/apps?names=hello&space_guids=space-1",
            "POST /v3/resource_matches",
            "POST /v3/packages",
            "POST /v3/packages/package-1/upload",
            "GET /v3/packages/package-1",
            "POST /v3/builds",
            "GET /v3/builds/build-1",
            "GET /logs/api/v1/read/app-1",
            "GET /v3/droplets/droplet-1",
            "PATCH /v3/apps/app-1/relationships/current_droplet",
            "POST /v3/apps/app-1/actions/restart",
            "GET /v3/apps/app-1/processes",
            "GET /v3/processes/app-1/stats",
            "GET /v3/apps/app-1/revisions/deployed",
        ],
    );
    let call = |start: &str| {
        calls
            .iter()
            .find(|call| call.line().starts_with(start))
            .expect(start)
    };
    let manifest = call("POST /v3/spaces/space-1/actions/apply_manifest");
    assert_eq!(manifest.header("content-type"), Some("application/x-yaml"));
    let manifest = model::manifest::Manifest::parse(&manifest.text()).expect("a manifest");
    let app = &manifest.applications[0];
    assert_eq!(
        (app.name.as_deref(), app.default_route),
        (Some("hello"), Some(true))
    );
    assert_eq!(
        app.env["A"].as_ref().map(|value| value.expose().as_str()),
        Some("$x \"q\" ä")
    );
    let asked = json_body(call("POST /v3/resource_matches"));
    let asked: Vec<_> = asked["resources"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["path"].clone())
        .collect();
    assert_eq!(
        asked,
        [json!("pom.xml"), json!("src/Main.java")],
        "empty files are never asked for"
    );
    let upload = call("POST /v3/packages/package-1/upload");
    assert_eq!(upload.header("transfer-encoding"), None, "never chunked");
    assert_eq!(
        upload.header("content-length").map(str::to_owned),
        Some(upload.body.len().to_string())
    );
    for call in &calls {
        assert!(
            call.header("authorization")
                .is_some_and(|value| value.starts_with("bearer ")),
            "{}",
            call.line()
        );
    }
}

#[tokio::test]
async fn files_that_the_space_has_are_not_sent_again() {
    let home = Home::with(Server::pushing().knowing_every_file());
    let cx = home.open().await.expect("logged in");
    let folder = app_folder();
    fs::remove_file(folder.path().join("empty.txt")).expect("removed");
    push::push(&cx, &options(&folder)).await.expect("pushed");
    let calls = home.server.calls();
    let upload = calls
        .iter()
        .find(|call| call.line().ends_with("/upload"))
        .expect("an upload");
    let text = upload.text();
    assert!(
        text.contains("src/Main.java") && text.contains(r#""mode":"6"#),
        "{text}"
    );
    assert!(!text.contains("package.zip"), "there is nothing to send");
    assert!(
        !calls
            .iter()
            .any(|call| call.line().contains("manifest_diff")),
        "without a manifest there is nothing to compare"
    );
}

#[tokio::test]
async fn a_failed_build_ends_with_10_and_its_cause() {
    let error = "NoAppDetectedError - no buildpack recognised this app\nfound      README.md";
    let home = Home::with(Server::pushing().answering(
        "GET /v3/builds/build-1",
        json!({"guid": "build-1", "state": "FAILED", "error": error}),
    ));
    let cx = home.open().await.expect("logged in");
    let folder = app_folder();
    let error = push::push(&cx, &options(&folder))
        .await
        .expect_err("failed");
    assert_eq!((error.code.as_str(), error.exit_code()), ("E-DETECT", 10));
    assert_eq!(error.evidence, ["found      README.md"]);
    assert!(
        !home
            .server
            .calls()
            .iter()
            .any(|call| call.line().contains("restart")),
        "what ran goes on"
    );
}

#[tokio::test]
async fn an_app_that_crashes_ends_with_11_and_its_last_output() {
    let stats = json!({"resources": [{"type": "web", "index": 0, "state": "CRASHED", "details": "web/0 exited with 1 after 0.8 s"}]});
    let line = json!({"timestamp": "1", "source_id": "app-1", "instance_id": "0", "tags": {"source_type": "APP/PROC/WEB"},
                      "log": {"payload": "TU9OR09EQl9VUkkgaXMgbm90IHNldA==", "type": "ERR"}});
    let server = Server::pushing()
        .answering("GET /v3/processes/app-1/stats", stats)
        .answering(
            "GET /logs/api/v1/read/app-1",
            json!({"envelopes": {"batch": [line]}}),
        );
    let home = Home::with(server);
    let cx = home.open().await.expect("logged in");
    let folder = app_folder();
    let error = push::push(&cx, &options(&folder))
        .await
        .expect_err("crashed");
    assert_eq!(error.exit_code(), 11);
    insta::assert_snapshot!(error, @r"
    ✗ E-CRASH web/0 exited with 1 after 0.8 s
      MONGODB_URI is not set
      try        slipway logs hello --recent  |  slipway env hello
    ");
}

#[tokio::test]
async fn a_manifest_that_the_server_refuses_ends_with_2_and_creates_nothing() {
    let failed = json!({"guid": "job-1", "operation": "space.apply_manifest", "state": "FAILED",
                        "errors": [{"code": 10008, "title": "CF-UnprocessableEntity", "detail": "For application 'hello': Stack must exist"}]});
    let home = Home::with(Server::pushing().answering("GET /v3/jobs/job-1", failed));
    let cx = home.open().await.expect("logged in");
    let folder = app_folder();
    let error = push::push(&cx, &options(&folder))
        .await
        .expect_err("refused");
    assert_eq!((error.code.as_str(), error.exit_code()), ("E-MANIFEST", 2));
    assert!(
        !home
            .server
            .calls()
            .iter()
            .any(|call| call.line().starts_with("POST /v3/packages"))
    );
}

#[tokio::test]
async fn without_start_nothing_is_built() {
    let home = Home::with(Server::pushing());
    let cx = home.open().await.expect("logged in");
    let folder = app_folder();
    push::push(
        &cx,
        &PushOptions {
            no_start: true,
            ..options(&folder)
        },
    )
    .await
    .expect("uploaded");
    let lines: Vec<_> = home.server.calls().iter().map(|call| call.line()).collect();
    assert_order(&lines, &["POST /v3/packages/package-1/upload"]);
    assert!(
        !lines.iter().any(|line| line.starts_with("POST /v3/builds")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn several_apps_of_a_manifest_are_pushed_in_its_order() {
    let home = Home::with(Server::pushing());
    let cx = home.open().await.expect("logged in");
    let folder = app_folder();
    let manifest = folder.path().join("manifest.yml");
    fs::write(
        &manifest,
        "applications:\n- name: other\n  path: .\n- name: hello\n  path: src\n",
    )
    .expect("written");
    push::push(
        &cx,
        &PushOptions {
            manifest: Some(manifest),
            ..PushOptions::default()
        },
    )
    .await
    .expect("pushed");
    let lines: Vec<_> = home.server.calls().iter().map(|call| call.line()).collect();
    assert_order(
        &lines,
        &[
            "POST /v3/apps/app-2/actions/restart",
            "POST /v3/apps/app-1/actions/restart",
        ],
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("apply_manifest"))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_token_that_is_about_to_end_is_renewed_and_stored() {
    let home = Home::with(Server::pushing());
    let stored = Config {
        api: Some(home.server.url()),
        ..Config::default()
    };
    stored.save(&home.config_path()).expect("stored");
    let api = home.server.url();
    let config = Config {
        api: Some(api.clone()),
        login_url: Some(format!("{api}/uaa")),
        log_cache_url: Some(format!("{api}/logs")),
        access_token: Some(scripted::token(1).into()),
        refresh_token: Some("refresh-1".to_owned().into()),
        ..Config::default()
    };
    let cx = Context::with(
        Ui::silent(),
        config,
        home.config_path(),
        Environment::default(),
    )
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
    let cx = Context::with(Ui::silent(), config, home.config_path(), environment)
        .await
        .expect("opened");
    let error = cx.target().await.expect_err("refused");
    assert_eq!(error.exit_code(), 4);
    let shown = error.to_string().replace(&home.server.url(), "http://API");
    insta::assert_snapshot!(shown, @r"
    ✗ E-CRED user or password not accepted
      the admin's first password is in admin-password in the server's data folder
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
    let cx = Context::with(
        Ui::silent(),
        config,
        home.config_path(),
        Environment::default(),
    )
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

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    let run = |args: &[&str]| crate::main(args.iter().map(OsString::from).collect());
    for (args, want) in [
        (&["slipway", "psuh"][..], 2),
        (&["slipway", "push", "-m", "512"], 2),
        (&["slipway", "push", "--env", "NOVALUE"], 2),
        (&["slipway", "scale"], 2),
        (&["slipway", "--json", "nonsense"], 2),
        (&["slipway", "--help"], 0),
        (&["slipway", "push", "--help"], 0),
        (&["slipway", "version"], 0),
        (&["slipway", "p", "--help"], 0),
        (&["slipway", "--json", "se"], 2),
    ] {
        assert_eq!(run(args), want, "{args:?}");
    }
}

#[test]
fn every_command_has_a_help_text_and_no_two_share_a_name() {
    let command = crate::command();
    command.clone().debug_assert();
    let mut names = std::collections::HashSet::new();
    for sub in command.get_subcommands() {
        assert!(sub.get_about().is_some(), "{} has no help", sub.get_name());
        for name in std::iter::once(sub.get_name()).chain(sub.get_all_aliases()) {
            assert!(names.insert(name.to_owned()), "{name} is there twice");
        }
        assert!(sub.get_arguments().all(|arg| arg.get_id() != "json") || sub.get_name() == "help");
    }
    for (short, full) in crate::commands::SHORT_NAMES {
        assert!(
            names.contains(*full) && names.insert((*short).to_owned()),
            "{short}"
        );
    }
    for verb in [
        "login",
        "target",
        "push",
        "apps",
        "app",
        "logs",
        "env",
        "set-env",
        "unset-env",
        "scale",
        "start",
        "stop",
        "restart",
        "delete",
        "cups",
        "bind-service",
        "unbind-service",
        "services",
        "routes",
    ] {
        assert!(names.contains(verb), "{verb}");
    }
}

/// Hints name only commands that exist.
#[test]
fn every_hinted_command_exists() {
    let known: std::collections::HashSet<String> = crate::command()
        .get_subcommands()
        .flat_map(|sub| std::iter::once(sub.get_name()).chain(sub.get_all_aliases()))
        .map(str::to_owned)
        // The platform's own roles, which the binary adds.
        .chain(["up", "down"].map(str::to_owned))
        .collect();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(&folder).expect("a folder") {
            let path = item.expect("an item").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.ends_with("tests.rs") || path.ends_with("tests/scripted.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            for (start, _) in text.match_indices("slipway ") {
                let word: String = text[start + 8..]
                    .chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                    .collect();
                let quoted = text[..start].ends_with(['"', ' ', '(', '\'']);
                if word.is_empty() || !quoted {
                    continue;
                }
                seen += 1;
                assert!(
                    known.contains(&word),
                    "{}: 'slipway {word}' does not exist",
                    path.display()
                );
            }
        }
    }
    assert!(seen > 40, "the search finds hints");
}
