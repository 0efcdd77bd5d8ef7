//! A push, call by call.

use std::fs;

use serde_json::json;

use super::Home;
use super::scripted::{Server, json_body};
use crate::push::{self, PushOptions};

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
async fn the_last_lines_of_a_build_are_found_behind_those_of_the_app() {
    let line = |time: u32, source: &str, text: &str| json!({"timestamp": time.to_string(), "tags": {"source_type": source}, "log": {"payload": text}});
    let batch = |lines: Vec<serde_json::Value>| json!({"envelopes": {"batch": lines}});
    let of_app = (1..=1000).map(|time| line(time, "APP/PROC/WEB", "aGk="));
    let logs = "GET /logs/api/v1/read/app-1";
    let home = Home::with(
        Server::pushing()
            .answering(
                "GET /v3/builds/build-1",
                json!({"guid": "build-1", "state": "FAILED", "error": "StagingError - mvn ended with 1"}),
            )
            .answering_once(logs, batch(vec![]))
            .answering_once(logs, batch(vec![]))
            .answering_once(logs, batch(of_app.collect()))
            .answering_once(logs, batch(vec![line(1001, "STG", "bm8gc3BhY2U=")])),
    );
    let cx = home.open().await.expect("logged in");
    let error = push::push(&cx, &options(&app_folder()))
        .await
        .expect_err("failed");
    assert_eq!(error.evidence, ["no space"]);
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
async fn a_missing_service_is_bound_and_then_comes_with_what_the_failed_push_has() {
    for (kept, last) in [
        ("", "slipway restart hello"),
        ("\n  kept       v1 is still live", "slipway push hello"),
    ] {
        let details = format!("exited with 1 after 0.8 s\n  MONGODB_URI is not set{kept}");
        let stats = json!({"resources": [{"type": "web", "index": 0, "state": "CRASHED", "details": details}]});
        let services =
            json!({"resources": [{"guid": "service-1", "name": "db", "type": "user-provided"}]});
        let server = Server::pushing()
            .answering("GET /v3/processes/app-1/stats", stats)
            .answering("GET /v3/service_instances?", services)
            .answering(
                "GET /v3/service_credential_bindings",
                json!({"resources": []}),
            )
            .answering(
                "GET /v3/service_instances/service-1/credentials",
                json!({"uri": "mongodb://db.test/x"}),
            );
        let home = Home::with(server);
        let cx = home.open().await.expect("logged in");
        let error = push::push(&cx, &options(&app_folder()))
            .await
            .expect_err("crashed");
        assert_eq!(error.hints, ["slipway bind-service hello db", last]);
    }
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
async fn a_push_for_tasks_builds_and_starts_nothing() {
    let home = Home::with(Server::pushing());
    let cx = home.open().await.expect("logged in");
    let folder = app_folder();
    let options = PushOptions {
        task: true,
        ..options(&folder)
    };
    push::push(&cx, &options).await.expect("built");
    let calls = home.server.calls();
    let lines: Vec<_> = calls.iter().map(|call| call.line()).collect();
    assert_order(
        &lines,
        &[
            "POST /v3/builds",
            "POST /v3/apps/app-1/actions/stop",
            "PATCH /v3/apps/app-1/relationships/current_droplet",
        ],
    );
    assert!(!lines.iter().any(|line| line.contains("restart")));
    let applied = calls
        .iter()
        .find(|call| call.line().ends_with("apply_manifest"))
        .expect("a manifest");
    assert!(applied.text().contains("no-route"), "{}", applied.text());
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
