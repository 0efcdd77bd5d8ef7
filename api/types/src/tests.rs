//! What clients rely on in the JSON, as tables.

use serde_json::json;

use crate::*;

#[test]
fn an_app_that_cloud_foundry_sends_is_read() {
    let app: App = serde_json::from_value(json!({
        "guid": "1cb0", "name": "hello", "state": "STARTED", "created_at": "2026-11-24T15:00:00Z",
        "lifecycle": {"type": "buildpack", "data": {"buildpacks": ["java"], "stack": "host"}},
        "relationships": {"space": {"data": {"guid": "s"}}, "current_droplet": {"data": null}},
        "metadata": {"labels": {}, "annotations": {}}, "a_field_of_the_future": 1
    }))
    .expect("an app");
    assert_eq!(app.state, AppState::Started);
    assert_eq!(app.relationships.space.guid(), Some("s"));
    assert_eq!(app.relationships.current_droplet.guid(), None);
}

#[test]
fn the_ends_of_a_list_are_null_and_included_vanishes() {
    let page = Page::<Space> {
        pagination: Pagination::default(),
        resources: vec![],
        included: None,
    };
    let json = serde_json::to_value(&page).expect("serialises");
    assert_eq!(json["pagination"]["next"], json!(null));
    assert!(
        json["pagination"]
            .as_object()
            .is_some_and(|p| p.contains_key("next"))
    );
    assert_eq!(json.get("included"), None);
}

#[test]
fn absent_and_null_are_different_wishes() {
    for (text, want) in [
        ("{}", None),
        (r#"{"command":null}"#, Some(None)),
        (r#"{"command":"x"}"#, Some(Some("x".into()))),
    ] {
        let update: UpdateProcess = serde_json::from_str(text).expect("an update");
        assert_eq!(update.command, want, "{text}");
    }
    let reset = UpdateProcess {
        command: Some(None),
        ..UpdateProcess::default()
    };
    assert_eq!(
        serde_json::to_string(&reset).expect("serialises"),
        r#"{"command":null}"#
    );
}

#[test]
fn states_have_cloud_foundrys_spelling() {
    for (got, want) in [
        (
            serde_json::to_value(PackageState::AwaitingUpload),
            "AWAITING_UPLOAD",
        ),
        (serde_json::to_value(BuildState::Staged), "STAGED"),
        (
            serde_json::to_value(DropletState::ProcessingUpload),
            "PROCESSING_UPLOAD",
        ),
        (serde_json::to_value(JobState::Complete), "COMPLETE"),
        (serde_json::to_value(InstanceState::Crashed), "CRASHED"),
        (serde_json::to_value(AppState::Stopped), "STOPPED"),
        (serde_json::to_value(ManifestOp::Replace), "replace"),
    ] {
        assert_eq!(got.expect("serialises"), json!(want));
    }
    let newer: InstanceState =
        serde_json::from_value(json!("HIBERNATING")).expect("any state is read");
    assert_eq!(newer, InstanceState::Unknown);
}

#[test]
fn debug_shows_no_secret() {
    let environment: UpdateEnvironment =
        serde_json::from_value(json!({"var": {"A": "hunter2", "B": null}})).expect("read");
    let instance: CreateServiceInstance = serde_json::from_value(json!({
        "type": "user-provided", "name": "db", "credentials": {"uri": "mongodb://u:hunter2@h/"},
        "relationships": {"space": {"data": {"guid": "s"}}}
    }))
    .expect("read");
    let token: TokenResponse =
        serde_json::from_value(json!({"access_token": "hunter2", "refresh_token": "hunter2"}))
            .expect("read");
    let shown = format!("{environment:?} {instance:?} {token:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(token.token_type, "bearer");
}
