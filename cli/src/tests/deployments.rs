//! Releases that take the place of running ones, call by call.

use serde_json::{Value, json};

use super::Home;
use super::scripted::Server;
use crate::commands::lifecycle::Restart;
use crate::deployment::Rollout;
use crate::error::CliError;

fn deployment(value: &str, reason: &str, error: Option<&str>) -> Value {
    json!({"guid": "roll-1", "status": {"value": value, "reason": reason, "details": {"error": error}}})
}

/// A server on which a restart of `hello` rolls for a while, and then ends so.
fn rolling(reason: &str, error: Option<&str>) -> Server {
    rolling_on(Server::pushing(), reason, error)
}

fn rolling_on(server: Server, reason: &str, error: Option<&str>) -> Server {
    let active = deployment("ACTIVE", "DEPLOYING", None);
    server
        .answering("GET /v3/packages?", json!({"resources": []}))
        .answering(
            "GET /v3/apps?",
            json!({"resources": [{"guid": "app-1", "name": "hello", "state": "STARTED",
                "relationships": {"current_droplet": {"data": {"guid": "droplet-1"}}}}]}),
        )
        .answering(
            "GET /v3/deployments?",
            json!({"resources": [active.clone()]}),
        )
        .answering("POST /v3/deployments", active.clone())
        .answering_once("GET /v3/deployments/roll-1", active)
        .answering(
            "GET /v3/deployments/roll-1",
            deployment("FINALIZED", reason, error),
        )
}

/// A plain restart, and one with a strategy.
async fn restart(server: fn() -> Server) -> [Result<(), CliError>; 2] {
    let one = async |strategy: Option<&str>| {
        let home = Home::with(server());
        let cx = home.open().await.expect("logged in");
        let rollout = Rollout {
            strategy: strategy.map(str::to_owned),
            ..Rollout::default()
        };
        let app = "hello".to_owned();
        let outcome = Restart { app, rollout }.run(&cx).await;
        let calls = home.server.calls();
        let asked = |end: &str| {
            calls
                .iter()
                .filter(|call| call.line().ends_with(end))
                .count()
        };
        assert_eq!(asked("/v3/deployments/roll-1"), 2, "followed to its end");
        assert_eq!(asked("/actions/cancel"), 0);
        outcome
    };
    [one(None).await, one(Some("rolling")).await]
}

#[tokio::test]
async fn a_release_is_live_only_when_its_roll_is_done() {
    for outcome in restart(|| rolling("DEPLOYED", None)).await {
        outcome.expect("runs");
    }
    // What the instances show is the release before, or one new instance of many.
    for outcome in restart(|| rolling("CANCELED", Some("exited with 3 after 0.2 s"))).await {
        let error = outcome.expect_err("failed");
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @r"
            ✗ E-CRASH web exited with 3 after 0.2 s
              kept       the release before is still live; nothing changed for your users
              try        slipway logs hello --recent
            ");
        }
        assert_eq!(error.exit_code(), 11);
    }
}

#[tokio::test]
async fn a_release_that_gives_way_to_another_does_not_claim_that_nothing_changed() {
    for outcome in restart(|| rolling("SUPERSEDED", None)).await {
        let error = outcome.expect_err("somebody was faster");
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @r"
            ✗ E-CONFLICT another push, restart or rollback of hello took the place of this one before it was done
              try        slipway releases hello  |  slipway app hello
            ");
        }
        assert_eq!(error.exit_code(), 13);
    }
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_does_not_end_the_wait_for_a_release() {
    // More often than any single call is repeated.
    let away = (0..5).fold(Server::pushing(), |server, _| {
        server.failing_once("GET /v3/deployments/roll-1", 503, json!({}))
    });
    let home = Home::with(rolling_on(away, "DEPLOYED", None));
    let cx = home.open().await.expect("logged in");
    let app = "hello".to_owned();
    let rollout = Rollout::default();
    Restart { app, rollout }.run(&cx).await.expect("it runs");
}
