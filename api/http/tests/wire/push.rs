//! The calls of `cf push` in their order, then those of the commands that people type next.

use base64::Engine as _;
use http::StatusCode;
use model::ids::AppId;
use serde_json::{Value, json};

use crate::client::Client;
use crate::world::{World, eventually, zip};

const MANIFEST: &str = "applications:\n- name: hello\n  memory: 256M\n  env:\n    GREETING: hi\n  default-route: true\n";

/// Steps 0 to 2: what the manifest alone does.
async fn apply(client: &Client, space: &str) -> String {
    let diff = client
        .yaml(&format!("/v3/spaces/{space}/manifest_diff"), MANIFEST)
        .await;
    assert!(Client::ok(&diff)["diff"].is_array(), "{diff:?}");
    let applied = client
        .yaml(
            &format!("/v3/spaces/{space}/actions/apply_manifest"),
            MANIFEST,
        )
        .await;
    assert_eq!(client.job(&applied).await["state"], "COMPLETE");
    let apps = client
        .read(&format!("/v3/apps?names=hello&space_guids={space}"))
        .await;
    apps["resources"][0]["guid"]
        .as_str()
        .expect("the app is listed")
        .to_owned()
}

/// Steps 4 to 9: from source to droplet.
pub(crate) async fn stage(
    world: &World,
    app: &str,
    parts: &[(&str, Option<&str>, &[u8])],
) -> String {
    let client = &world.client;
    let package = world.new_package(app).await;
    let uploaded = client
        .upload(&format!("/v3/packages/{package}/upload"), parts)
        .await;
    assert_eq!(Client::ok(&uploaded)["state"], "READY");
    assert_eq!(
        client.read(&format!("/v3/packages/{package}")).await["state"],
        "READY"
    );
    let build = client
        .post("/v3/builds", &json!({ "package": { "guid": package } }))
        .await;
    assert_eq!(
        (build.status, build.header("location")),
        (StatusCode::CREATED, None)
    );
    let path = format!(
        "/v3/builds/{}",
        build.json()["guid"].as_str().expect("a GUID")
    );
    let staged = eventually("staged", || async {
        let build = client.read(&path).await;
        assert_ne!(build["state"], "FAILED", "{build}");
        (build["state"] == "STAGED").then_some(build)
    })
    .await;
    let droplet = staged["droplet"]["guid"]
        .as_str()
        .expect("a droplet")
        .to_owned();
    let shown = client.read(&format!("/v3/droplets/{droplet}")).await;
    assert_eq!(
        (&shown["state"], &shown["process_types"]["web"]),
        (&json!("STAGED"), &json!("java -jar app.jar"))
    );
    droplet
}

/// Steps 10 to 12: run it, and wait as `cf` does.
pub(crate) async fn run(client: &Client, app: &str, droplet: &str) {
    let current = json!({ "data": { "guid": droplet } });
    let path = format!("/v3/apps/{app}/relationships/current_droplet");
    assert_eq!(
        Client::ok(&client.patch(&path, &current).await)["data"]["guid"],
        droplet
    );
    let restarted = client
        .post(&format!("/v3/apps/{app}/actions/restart"), &json!({}))
        .await;
    assert_eq!(Client::ok(&restarted)["state"], "STARTED");
    running(client, app, 1).await;
}

pub(crate) async fn running(client: &Client, app: &str, instances: usize) -> Value {
    let processes = client.read(&format!("/v3/apps/{app}/processes")).await;
    assert_eq!(
        processes["resources"][0]["command"],
        "[PRIVATE DATA HIDDEN IN LISTS]"
    );
    let process = processes["resources"][0]["guid"]
        .as_str()
        .expect("a process")
        .to_owned();
    assert_eq!(process, app, "the web process has the app's GUID");
    let path = format!("/v3/processes/{process}/stats");
    eventually("running", || async {
        let stats = client.read(&path).await;
        let rows = stats["resources"].as_array().expect("a list");
        assert!(!rows.is_empty(), "an empty list would count as started");
        let up = rows.iter().filter(|row| row["state"] == "RUNNING").count();
        (up == instances && rows.len() == instances).then(|| stats.clone())
    })
    .await
}

async fn summary(client: &Client, app: &str) {
    let process = client.read(&format!("/v3/processes/{app}")).await;
    assert_eq!(
        (&process["command"], &process["memory_in_mb"]),
        (&json!("java -jar app.jar"), &json!(256))
    );
    assert_eq!(
        client.read(&format!("/v3/processes/{app}/sidecars")).await["resources"],
        json!([])
    );
    let routes = client.read(&format!("/v3/apps/{app}/routes")).await;
    assert_eq!(routes["resources"][0]["url"], "hello.localhost:8080");
    let droplet = client
        .read(&format!("/v3/apps/{app}/droplets/current"))
        .await;
    assert_eq!(droplet["buildpacks"][0]["detect_output"], "a ready jar");
    let deployments = "order_by=-created_at&page=1&per_page=1&status_values=ACTIVE";
    assert_eq!(
        client
            .read(&format!("/v3/deployments?app_guids={app}&{deployments}"))
            .await["resources"],
        json!([])
    );
}

#[tokio::test]
async fn cf_push_runs_an_app_and_the_next_push_sends_only_what_changed() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let (client, space) = (world.client.clone(), world.space().await);
    let app = apply(&client, &space).await;

    let bits = zip(&[
        ("app.jar", b"hello"),
        ("Procfile", b"web: java -jar app.jar\n"),
    ]);
    let file = json!({ "path": "app.jar", "mode": "644", "size_in_bytes": 5,
        "checksum": { "value": "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d" } });
    let matches = client
        .post("/v3/resource_matches", &json!({ "resources": [file] }))
        .await;
    assert_eq!(
        Client::ok(&matches)["resources"],
        json!([]),
        "nothing is known yet"
    );
    let droplet = stage(
        &world,
        &app,
        &[
            ("resources", None, b"[]"),
            ("bits", Some("package.zip"), &bits),
        ],
    )
    .await;
    run(&client, &app, &droplet).await;
    summary(&client, &app).await;
    {
        let seen = cell.seen.lock().expect("no panic");
        let spec = seen.running.values().next().expect("an instance");
        assert_eq!(
            (spec.env.get("GREETING"), spec.command.as_str()),
            (Some("hi"), "java -jar app.jar")
        );
        assert_eq!(seen.packages[0], bits, "the cell got what was uploaded");
    }

    // The second push: one file is known, one is new.
    assert_eq!(apply(&client, &space).await, app);
    let matched = Client::ok(
        &client
            .post("/v3/resource_matches", &json!({ "resources": [file] }))
            .await,
    )["resources"]
        .clone();
    assert_eq!(matched[0]["mode"], "644");
    let changed = zip(&[("Procfile", b"web: java -jar app.jar -x\n")]);
    let parts: [(&str, Option<&str>, &[u8]); 2] = [
        ("resources", None, &matched.to_string().into_bytes()),
        ("bits", Some("package.zip"), &changed),
    ];
    let droplet = stage(&world, &app, &parts).await;
    run(&client, &app, &droplet).await;
    let revisions = client
        .read(&format!("/v3/apps/{app}/revisions?order_by=-created_at"))
        .await;
    assert_eq!(revisions["resources"][0]["version"], 2);
    let deployed = client
        .read(&format!("/v3/apps/{app}/revisions/deployed"))
        .await;
    assert_eq!(deployed["resources"][0]["version"], 2);
    let link = deployed["resources"][0]["links"]["environment_variables"]["href"]
        .as_str()
        .and_then(|link| link.strip_prefix("http://127.0.0.1:8080"))
        .expect("a link at the client's host");
    assert_eq!(client.read(link).await["var"], json!({ "GREETING": "hi" }));
    assert_eq!(cell.seen.lock().expect("no panic").staged.len(), 2);
}

#[tokio::test]
async fn what_people_type_after_a_push_works() {
    let mut world = World::logged_in().await;
    let cell = world.add_cell().await;
    let (client, space) = (world.client.clone(), world.space().await);
    let app = apply(&client, &space).await;
    let bits = zip(&[("app.jar", b"hello")]);
    let droplet = stage(&world, &app, &[("bits", Some("package.zip"), &bits)]).await;
    run(&client, &app, &droplet).await;

    // cf logs --recent
    assert_eq!(client.read("/api/v1/info").await["version"], "3.0.0");
    let recent = "descending=true&envelope_types=LOG&limit=1000&start_time=-6795364578871345152";
    let logs = client.read(&format!("/api/v1/read/{app}?{recent}")).await;
    let batch = logs["envelopes"]["batch"]
        .as_array()
        .expect("a list")
        .clone();
    assert_eq!(batch.len(), 3, "{logs}");
    assert_eq!(
        (&batch[0]["tags"]["source_type"], &batch[0]["log"]["type"]),
        (&json!("APP/PROC/WEB"), &json!("ERR"))
    );
    let staging = batch
        .iter()
        .find(|line| line["tags"]["source_type"] == "STG")
        .expect("a staging line");
    let payload = staging["log"]["payload"].as_str().expect("base64");
    assert_eq!(
        base64::engine::general_purpose::STANDARD
            .decode(payload)
            .expect("base64"),
        b"done"
    );

    // cf scale -i 3
    let scaled = client
        .post(
            &format!("/v3/apps/{app}/processes/web/actions/scale"),
            &json!({ "instances": 3 }),
        )
        .await;
    assert_eq!(
        (scaled.status, &scaled.json()["instances"]),
        (StatusCode::ACCEPTED, &json!(3))
    );
    assert_eq!(scaled.header("location"), None, "scaling is no job");
    let stats = running(&client, &app, 3).await;
    assert_eq!(stats["resources"][2]["index"], 2);
    assert_eq!(stats["resources"][0]["mem_quota"], 256 * 1024 * 1024);

    // cf apps
    let listed = client
        .read(&format!(
            "/v3/processes?embed=process_instances&space_guids={space}"
        ))
        .await;
    assert_eq!(
        listed["resources"][0]["process_instances"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    assert_eq!(
        client.read(&format!("/v3/routes?app_guids={app}")).await["resources"][0]["url"],
        "hello.localhost:8080"
    );

    // cf restart-app-instance
    let before = cell
        .seen
        .lock()
        .expect("no panic")
        .running
        .keys()
        .copied()
        .collect::<Vec<_>>();
    let restarted = client
        .delete(&format!("/v3/apps/{app}/processes/web/instances/1"))
        .await;
    assert_eq!(restarted.status, StatusCode::NO_CONTENT);
    eventually("a new life", || async {
        let now = cell
            .seen
            .lock()
            .expect("no panic")
            .running
            .keys()
            .copied()
            .collect::<Vec<_>>();
        (now.len() == 3 && now != before).then_some(())
    })
    .await;

    // cf set-env with an address that means the instance, and restart
    let env = json!({ "var": { "MONGODB_URI": "mongodb://127.0.0.1/x" } });
    client
        .patch(&format!("/v3/apps/{app}/environment_variables"), &env)
        .await;
    let restarted = client
        .post(&format!("/v3/apps/{app}/actions/restart"), &json!({}))
        .await;
    let warning = restarted.header("x-cf-warnings").expect("a warning");
    assert!(
        warning.contains("host.slipway.internal") && !warning.contains(' '),
        "{warning}"
    );

    // cf set-health-check, cf stop, cf events, cf delete -r
    let health = json!({ "health_check": { "type": "http", "data": { "endpoint": "/up" } } });
    let patched = Client::ok(&client.patch(&format!("/v3/processes/{app}"), &health).await);
    assert_eq!(patched["health_check"]["data"]["endpoint"], "/up");
    let stopped = client
        .post(&format!("/v3/apps/{app}/actions/stop"), &json!({}))
        .await;
    assert_eq!(Client::ok(&stopped)["state"], "STOPPED");
    eventually("stopped", || async {
        cell.seen
            .lock()
            .expect("no panic")
            .running
            .is_empty()
            .then_some(())
    })
    .await;
    let events = client
        .read(&format!(
            "/v3/audit_events?order_by=-created_at&page=1&target_guids={app}"
        ))
        .await;
    assert_eq!(
        (
            &events["resources"][0]["type"],
            &events["resources"][0]["actor"]["name"]
        ),
        (&json!("audit.app.stop"), &json!("admin"))
    );
    let deleted = client.delete(&format!("/v3/apps/{app}")).await;
    assert_eq!(client.job(&deleted).await["state"], "COMPLETE");
    assert_eq!(
        client.get(&format!("/v3/apps/{app}")).await.detail(),
        "App not found"
    );
    assert!(app.parse::<AppId>().is_ok());
}

#[tokio::test]
async fn a_manifest_with_a_typing_error_creates_nothing() {
    let world = World::logged_in().await;
    let space = world.space().await;
    let path = format!("/v3/spaces/{space}/actions/apply_manifest");
    let typo = world
        .client
        .yaml(&path, "applications:\n- name: hello\n  memry: 256M\n")
        .await;
    assert!(typo.status.is_client_error(), "{typo:?}");
    assert!(
        typo.detail().contains("memory") && typo.detail().contains('3'),
        "{typo:?}"
    );
    let large = world
        .client
        .yaml(&path, &format!("applications: # {}", "x".repeat(1 << 20)))
        .await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.client.read("/v3/apps").await["resources"], json!([]));
}

#[tokio::test]
async fn a_package_without_bits_is_neither_copied_nor_made() {
    let world = World::logged_in().await;
    let app = world.new_app("hello").await;
    let package = world.new_package(&app).await;
    let body = json!({ "relationships": { "app": { "data": { "guid": app } } } });
    let path = format!("/v3/packages?source_guid={package}");
    for (path, part) in [
        (path.as_str(), "source package is not ready"),
        ("/v3/packages", "type must be 'bits'"),
    ] {
        let refused = world.client.post(path, &body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(refused.detail().contains(part), "{refused:?}");
    }
}

#[tokio::test]
async fn a_build_that_no_package_can_feed_is_refused_in_cfs_words() {
    let world = World::logged_in().await;
    let app = world.new_app("hello").await;
    let package = world.new_package(&app).await;
    let build = world
        .client
        .post("/v3/builds", &json!({ "package": { "guid": package } }))
        .await;
    assert_eq!(build.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        build.detail(),
        "Bad request: Cannot stage package whose state is not ready."
    );
}

#[tokio::test]
async fn the_manifest_of_an_app_makes_the_same_app_again() {
    let world = World::logged_in().await;
    let (client, space) = (&world.client, world.space().await);
    let db = json!({ "type": "user-provided", "name": "db", "credentials": { "password": "hunter2" },
        "relationships": { "space": { "data": { "guid": space } } } });
    Client::ok(&client.post("/v3/service_instances", &db).await);
    let written = "applications:\n- name: shop\n  memory: 128M\n  instances: 2\n  command: run it\n  \
        health-check-type: http\n  health-check-http-endpoint: /up\n  timeout: 90\n  env: { ANSWER: '042' }\n  \
        routes: [{ route: shop.localhost/admin }]\n  services: [db]\n  processes:\n  - { type: worker, instances: 3 }\n  \
        metadata: { labels: { team: red } }\n";
    let apply = format!("/v3/spaces/{space}/actions/apply_manifest");
    let applied = client.yaml(&apply, written).await;
    assert_eq!(client.job(&applied).await["state"], "COMPLETE");
    let manifest = |name: &'static str| async move {
        let apps = client.read(&format!("/v3/apps?names={name}")).await;
        let app = apps["resources"][0]["guid"].as_str().expect("the app");
        client.get(&format!("/v3/apps/{app}/manifest")).await
    };
    let exported = manifest("shop").await;
    assert_eq!(
        (exported.status, exported.header("content-type")),
        (StatusCode::OK, Some("application/x-yaml"))
    );
    assert!(!exported.text.contains("hunter2"), "{exported:?}");
    for part in ["042", "shop.localhost/admin", "worker", "/up", "red", "db"] {
        assert!(exported.text.contains(part), "{part}: {exported:?}");
    }
    let copy = exported.text.replacen("shop", "copy", 1);
    let applied = client.yaml(&apply, &copy).await;
    assert_eq!(client.job(&applied).await["state"], "COMPLETE");
    assert_eq!(manifest("copy").await.text, copy);
}
