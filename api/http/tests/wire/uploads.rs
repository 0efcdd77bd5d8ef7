//! Uploads: both orders of parts, and what must not get in.

use api_control::Scratch;
use http::{Method, StatusCode};
use serde_json::json;

use crate::client::Client;
use crate::world::{World, eventually, zip};

/// Name, file name, content.
type Part<'a> = (&'a str, Option<&'a str>, &'a [u8]);

async fn world() -> (World, String) {
    let world = World::logged_in().await;
    let app = world.new_app("uploads").await;
    (world, app)
}

#[tokio::test]
async fn an_upload_is_ready_at_once_in_either_order_of_parts() {
    let (world, app) = world().await;
    let bits = zip(&[("a.txt", b"hello")]);
    let (resources, file): ((_, _, &[u8]), (_, _, &[u8])) = (
        ("resources", None, b"[]"),
        ("bits", Some("package.zip"), &bits),
    );
    for parts in [
        vec![resources, file],
        vec![file, resources],
        vec![file],
        vec![("noise", None, b"x"), file],
    ] {
        let package = world.new_package(&app).await;
        let answer = world
            .client
            .upload(&format!("/v3/packages/{package}/upload"), &parts)
            .await;
        assert_eq!(Client::ok(&answer)["state"], "READY");
        assert_eq!(answer.header("location"), None, "an upload is no job");
    }
    assert_eq!(world.scratch_files(), 0, "nothing is left behind");
    let newest = world
        .client
        .read(&format!(
            "/v3/packages?app_guids={app}&order_by=-created_at&per_page=1&states=READY"
        ))
        .await;
    assert_eq!(newest["pagination"]["total_results"], 4);
}

#[tokio::test]
async fn matched_files_need_no_upload() {
    let (world, app) = world().await;
    let package = world.new_package(&app).await;
    let bits = zip(&[("a.txt", b"hello"), ("b.txt", b"world")]);
    world
        .client
        .upload(
            &format!("/v3/packages/{package}/upload"),
            &[("bits", Some("package.zip"), &bits)],
        )
        .await;
    let hello = json!({ "path": "x/a.txt", "mode": "755", "size_in_bytes": 5,
        "checksum": { "value": "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d" } });
    let unknown = json!({ "path": "c", "mode": "644", "size_in_bytes": 5, "checksum": { "value": "0".repeat(40) } });
    let matches = world
        .client
        .post(
            "/v3/resource_matches",
            &json!({ "resources": [hello, unknown] }),
        )
        .await;
    let matched = Client::ok(&matches)["resources"].clone();
    assert_eq!(matched, json!([hello]));
    let package = world.new_package(&app).await;
    let path = format!("/v3/packages/{package}/upload");
    let answer = world
        .client
        .upload(
            &path,
            &[("resources", None, matched.to_string().as_bytes())],
        )
        .await;
    assert_eq!(Client::ok(&answer)["state"], "READY");
    let again = world
        .client
        .upload(
            &path,
            &[("resources", None, matched.to_string().as_bytes())],
        )
        .await;
    assert_eq!(
        again.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "a package is immutable"
    );
}

#[tokio::test]
async fn hostile_uploads_are_refused_and_leave_nothing() {
    let (world, app) = world().await;
    let escaping = zip(&[("../evil", b"x")]);
    let good = zip(&[("a", b"x")]);
    let stranger = json!([{ "path": "a", "mode": "644", "size_in_bytes": 1, "checksum": { "value": "1".repeat(40) } }]).to_string();
    let cases: Vec<(&str, Vec<Part<'_>>)> = vec![
        (
            "no zip",
            vec![("bits", Some("package.zip"), b"this is no zip file")],
        ),
        ("a path out", vec![("bits", Some("package.zip"), &escaping)]),
        ("nothing", vec![("noise", None, b"x")]),
        (
            "twice",
            vec![
                ("bits", Some("a.zip"), &good),
                ("bits", Some("b.zip"), &good),
            ],
        ),
        ("no list", vec![("resources", None, b"{}")]),
        (
            "a file that nobody has",
            vec![("resources", None, stranger.as_bytes())],
        ),
    ];
    for (what, parts) in cases {
        let package = world.new_package(&app).await;
        let answer = world
            .client
            .upload(&format!("/v3/packages/{package}/upload"), &parts)
            .await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{what}: {answer:?}"
        );
        assert_eq!(world.scratch_files(), 0, "{what}");
    }
    let package = world.new_package(&app).await;
    let path = format!("/v3/packages/{package}/upload");
    let kind = ("content-type", "multipart/form-data; boundary=b");
    let huge = world
        .client
        .send(
            Method::POST,
            &path,
            &[kind, ("content-length", "1073741825")],
            "",
        )
        .await;
    assert_eq!(huge.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(huge.detail().contains("1024 MiB"), "{huge:?}");
    let cut = "--b\r\nContent-Disposition: form-data; name=\"bits\"; filename=\"p\"\r\n\r\nPK";
    assert_eq!(
        world
            .client
            .send(Method::POST, &path, &[kind], cut)
            .await
            .status,
        StatusCode::BAD_REQUEST
    );
    let json = world.client.post(&path, &json!({})).await;
    assert_eq!(json.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.scratch_files(), 0);
}

#[tokio::test]
async fn matched_files_that_are_too_much_together_are_refused_before_they_are_copied() {
    let (world, app) = world().await;
    let package = world.new_package(&app).await;
    let large = json!({ "path": "a", "mode": "644", "size_in_bytes": 5_u64 << 30, "checksum": { "value": "0".repeat(40) } });
    let answer = world
        .client
        .upload(
            &format!("/v3/packages/{package}/upload"),
            &[("resources", None, json!([large]).to_string().as_bytes())],
        )
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(answer.detail().contains("4096 MiB"), "{answer:?}");
}

#[tokio::test]
async fn an_upload_that_nobody_waits_for_leaves_no_file_behind() {
    let (world, app) = world().await;
    let package = world.new_package(&app).await;
    let admin = world.client.read("/v3/users").await["resources"][0].clone();
    let admin = admin["guid"].as_str().expect("a GUID").parse();
    let actor = world.control.actor(admin.expect("a GUID")).await;
    let actor = actor.expect("reads").expect("the admin");
    let bits = Scratch::new(world.control.scratch());
    let content = vec![7; 32 << 20];
    std::fs::write(bits.path(), zip(&[("a", &content), ("b", &content)])).expect("writes");
    let file = bits.path().to_owned();
    let package = package.parse().expect("a GUID");
    let upload = world
        .control
        .upload_package(&actor, package, Vec::new(), Some(bits));
    let is_taken = eventually("the upload is taken", || async {
        (!file.exists()).then_some(())
    });
    tokio::select! {
        _ = upload => {}
        () = is_taken => {}
    }
    eventually("an empty folder", || async {
        (world.scratch_files() == 0).then_some(())
    })
    .await;
}
