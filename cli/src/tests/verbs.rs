//! Commands that are one call or two.

use std::os::unix::fs::PermissionsExt as _;

use clap::Parser as _;
use serde_json::{Value, json};

use super::Home;
use super::scripted::{Server, json_body};
use crate::commands::Command;
use crate::config::{Config, Named};
use crate::error::Outcome;

fn command(line: &[&str]) -> Command {
    let line = [&["slipway"], line].concat();
    crate::Top::try_parse_from(line).expect("usage").command
}

/// The body of the one call of this method and path.
fn body_of(home: &Home, start: &str) -> Value {
    let calls = home.server.calls();
    let call = calls.iter().find(|call| call.line().starts_with(start));
    json_body(call.unwrap_or_else(|| panic!("no {start}")))
}

async fn run(home: &Home, line: &[&str]) -> Outcome {
    let cx = home.open().await.expect("logged in");
    match command(line) {
        Command::Rename(command) => command.run(&cx).await,
        Command::Labels(command) => command.run(&cx).await,
        Command::SetLabel(command) => command.run(&cx).await,
        Command::UnsetLabel(command) => command.run(&cx).await,
        Command::Droplets(command) => command.run(&cx).await,
        Command::CreateAppManifest(command) => command.run(&cx).await,
        Command::CreateOrg(command) => command.run(&cx).await,
        Command::DeleteOrg(command) => command.run(&cx).await,
        Command::CreateSpace(command) => command.run(&cx).await,
        Command::DeleteSpace(command) => command.run(&cx).await,
        other => panic!("{other:?} is not run here"),
    }
}

#[tokio::test]
async fn an_app_is_renamed_and_labelled() {
    let app = json!({"guid": "app-1", "name": "shop", "state": "STOPPED"});
    let changing = || Server::pushing().answering("PATCH /v3/apps/app-1", app.clone());
    let labels = |labels: Value| json!({"metadata": {"labels": labels, "annotations": {}}});
    for (line, want) in [
        (&["rename", "hello", "shop"][..], json!({"name": "shop"})),
        (
            &["set-label", "app", "hello", "tier=front", "team="],
            labels(json!({"tier": "front", "team": ""})),
        ),
        (
            &["unset-label", "app", "hello", "tier"],
            labels(json!({"tier": null})),
        ),
    ] {
        let home = Home::with(changing());
        run(&home, line).await.expect("changed");
        assert_eq!(body_of(&home, "PATCH /v3/apps/app-1"), want, "{line:?}");
    }
    run(&Home::with(Server::pushing()), &["labels", "app", "hello"])
        .await
        .expect("shown");
}

#[tokio::test]
async fn droplets_and_the_manifest_of_an_app_are_read() {
    let server = Server::pushing()
        .answering(
            "GET /v3/apps/app-1/droplets?",
            json!({"resources": [{"guid": "droplet-1", "state": "STAGED"}]}),
        )
        .answering("GET /v3/apps/app-1/manifest", json!({"applications": []}));
    let home = Home::with(server);
    run(&home, &["droplets", "hello"]).await.expect("shown");
    let path = home.folder.path().join("hello.yml");
    let file = path.to_str().expect("UTF-8");
    run(&home, &["create-app-manifest", "hello", "-p", file])
        .await
        .expect("written");
    let text = std::fs::read_to_string(&path).expect("a file");
    assert_eq!(text, r#"{"applications":[]}"#, "as the server has it");
    let mode = std::fs::metadata(&path).expect("a file").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600, "values of variables are in it");
}

#[tokio::test]
async fn orgs_and_spaces_come_and_go() {
    let none = || json!({"resources": []});
    let home = Home::with(
        Server::pushing()
            .answering("GET /v3/organizations?", none())
            .answering("GET /v3/spaces?", none())
            .answering(
                "POST /v3/organizations",
                json!({"guid": "o", "name": "shop"}),
            )
            .answering("POST /v3/spaces", json!({"guid": "s", "name": "test"})),
    );
    run(&home, &["create-org", "shop"]).await.expect("created");
    assert_eq!(
        body_of(&home, "POST /v3/organizations"),
        json!({"name": "shop"})
    );
    run(&home, &["create-space", "test"])
        .await
        .expect("created");
    assert_eq!(
        body_of(&home, "POST /v3/spaces"),
        json!({"name": "test", "relationships": {"organization": {"data": {"guid": "org-1"}}}})
    );
    run(&home, &["delete-space", "gone", "-f"])
        .await
        .expect("so already");
    run(&home, &["delete-org", "gone", "-f"])
        .await
        .expect("so already");
    assert!(
        !home
            .server
            .calls()
            .iter()
            .any(|call| call.line().starts_with("DELETE"))
    );
}

#[tokio::test]
async fn what_is_deleted_is_not_the_target_any_more() {
    let named = |guid: &str| {
        Some(Named {
            guid: guid.into(),
            name: guid.into(),
        })
    };
    for (line, path, org) in [
        (
            &["delete-space", "dev", "-f"][..],
            "/v3/spaces/space-1",
            named("org-1"),
        ),
        (
            &["delete-org", "main", "-f"],
            "/v3/organizations/org-1",
            None,
        ),
    ] {
        let found = |guid: &str| json!({"resources": [{"guid": guid, "name": guid}]});
        let home = Home::with(
            Server::pushing()
                .answering("GET /v3/organizations?", found("org-1"))
                .answering("GET /v3/spaces?", found("space-1"))
                .answering(&format!("DELETE {path}"), json!({})),
        );
        let stored = Config {
            api: Some(home.server.url()),
            org: named("org-1"),
            space: named("space-1"),
            ..Config::default()
        };
        stored.save(&home.config_path()).expect("stored");
        run(&home, line).await.expect("deleted");
        let stored = Config::load(&home.config_path()).expect("stored");
        assert_eq!((stored.org, stored.space), (org, None), "{line:?}");
    }
}
