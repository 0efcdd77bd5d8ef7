//! What the JSON looks like, field by field, in the files under `snapshots`.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use api_control::records::{
    App, AppState, Binding, Build, BuildState, Destination, Droplet, Event, Job, JobState, Package,
    PackageState, Process, Revision, Route, ServiceInstance, Snapshot, Task, TaskState,
};
use api_control::{IndexState, IndexStats, records};
use model::digest::Digest;
use model::droplet::{Image, Stack, UsedBuildpack};
use model::health::{HealthCheck, HealthCheckKind};
use model::ids::TaskId;
use model::limits::{Limits, Megabytes};
use model::protocol::cell::{InstanceUsage, Isolation};
use model::secret::{Env, Secret};
use model::task::StagingFailure;
use serde::Serialize;
use serde_json::{Map, json};

use crate::present;
use crate::urls::Urls;

const CREATED: i64 = 1_795_532_400_000_000;
const UPDATED: i64 = CREATED + 61_500_000;

/// An id that ends in `number`.
fn id<T: FromStr>(number: u32) -> T
where
    T::Err: std::fmt::Debug,
{
    format!("00000000-0000-4000-8000-{number:012}")
        .parse()
        .expect("a GUID")
}

fn urls() -> Urls {
    Urls::at("http://api.localhost:8080")
}

fn shown(value: impl Serialize) -> String {
    serde_json::to_string_pretty(&value).expect("serialises")
}

fn app() -> App {
    App {
        id: id(1),
        space: id(2),
        name: "hello".into(),
        state: AppState::Started,
        buildpacks: vec!["java".into()],
        stack: None,
        current_droplet: Some(id(3)),
        env: Env::from_iter([("MONGODB_URI", "mongodb://u:hunter2@db/x")]),
        metadata: records::Metadata {
            labels: BTreeMap::from([("team".into(), "a".into())]),
            annotations: BTreeMap::new(),
        },
        created_us: CREATED,
        updated_us: UPDATED,
    }
}

fn process() -> Process {
    Process {
        id: id(1),
        app: id(1),
        process_type: "web".into(),
        command: None,
        instances: 2,
        memory: Megabytes(512),
        disk: Megabytes(1024),
        log_rate: None,
        health: HealthCheck {
            kind: HealthCheckKind::Http {
                endpoint: "/health".into(),
            },
            start_timeout: Duration::from_secs(60),
            invocation_timeout: Duration::from_secs(1),
        },
        created_us: CREATED,
        updated_us: UPDATED,
    }
}

fn droplet() -> Droplet {
    Droplet {
        id: id(3),
        app: id(1),
        package: id(4),
        image: Image {
            stack: Stack("host-0123456789ab".into()),
            layers: Vec::new(),
            process_types: BTreeMap::from([(
                "web".into(),
                "java -jar app.jar --key=hunter2".into(),
            )]),
            buildpacks: vec![UsedBuildpack {
                name: "java".into(),
                version: "1.0".into(),
                detected: "Maven project, Java 17".into(),
            }],
        },
        created_us: CREATED,
    }
}

#[test]
fn apps() {
    let text = shown(present::app(&urls(), &app()));
    assert!(!text.contains("hunter2"), "{text}");
    insta::assert_snapshot!("app", text);
}

#[test]
fn processes() {
    insta::assert_snapshot!(
        "process",
        shown(present::process(&urls(), &process(), Some(&droplet())))
    );
    let in_list = shown(present::process_in_list(&urls(), &process()));
    assert!(
        in_list.contains("[PRIVATE DATA HIDDEN IN LISTS]") && !in_list.contains("hunter2"),
        "{in_list}"
    );
}

#[test]
fn droplets() {
    insta::assert_snapshot!("droplet", shown(present::droplet(&urls(), &droplet())));
    let in_list = shown(present::droplet_in_list(&urls(), &droplet()));
    assert!(!in_list.contains("hunter2"), "{in_list}");
}

#[test]
fn stats() {
    let row = IndexStats {
        index: 0,
        state: IndexState::Running,
        instance: Some(id(5)),
        cell: Some("cell-1".into()),
        address: Some("10.0.0.2:8080".parse().expect("an address")),
        since_us: CREATED,
        usage: Some(InstanceUsage {
            instance: id(5),
            cpu: 0.25,
            memory_bytes: 100,
            disk_bytes: 200,
            log_rate: 3,
        }),
        memory: Megabytes(512),
        disk: Megabytes(1024),
        log_rate: None,
        details: None,
        exit: None,
        revision: Some(1),
        isolation: Isolation::Container,
    };
    insta::assert_snapshot!(
        "stats_running",
        shown(present::stats("web", row.clone(), UPDATED))
    );
    let down = IndexStats {
        index: 1,
        state: IndexState::Down,
        instance: None,
        cell: None,
        address: None,
        usage: None,
        details: Some("insufficient memory".into()),
        isolation: Isolation::Process,
        ..row.clone()
    };
    insta::assert_snapshot!("stats_down", shown(present::stats("web", down, UPDATED)));
    let embedded = present::process_instance(&row, UPDATED);
    assert_eq!((embedded.index, embedded.since), (0, 61));
}

#[test]
fn packages() {
    let package = |state| Package {
        id: id(4),
        app: id(1),
        state,
        created_us: CREATED,
        updated_us: UPDATED,
    };
    let digest = Digest::from_str(&format!("sha256:{}", "0a".repeat(32))).expect("a digest");
    let ready = package(PackageState::Ready { digest, size: 10 });
    insta::assert_snapshot!("package_ready", shown(present::package(&urls(), &ready)));
    let failed = present::package(
        &urls(),
        &package(PackageState::Failed {
            error: "it is no zip file".into(),
        }),
    );
    assert_eq!(failed.data.error.as_deref(), Some("it is no zip file"));
}

#[test]
fn builds() {
    let build = |state| Build {
        id: id(6),
        app: id(1),
        package: id(4),
        state,
        buildpacks: vec![],
        task: TaskId::random(),
        limits: Limits {
            memory: Megabytes(1024),
            disk: Megabytes(4096),
            pids: 1024,
        },
        placed: None,
        created_by: "admin".into(),
        created_us: CREATED,
        updated_us: UPDATED,
    };
    let staged = build(BuildState::Staged { droplet: id(3) });
    insta::assert_snapshot!("build_staged", shown(present::build(&urls(), &staged)));
    let failure = StagingFailure::NothingDetected {
        looked_for: vec!["pom.xml".into()],
        found: vec![],
        hint: None,
    };
    let failed = present::build(&urls(), &build(BuildState::Failed { failure }));
    let error = failed.error.expect("an error");
    assert!(error.starts_with("NoAppDetectedError - "), "{error}");
}

#[test]
fn routes() {
    let route = Route {
        id: id(7),
        space: id(2),
        domain: id(8),
        domain_name: "localhost".into(),
        host: "hello".into(),
        path: String::new(),
        destinations: vec![Destination {
            id: id(9),
            app: id(1),
            process_type: "web".into(),
        }],
        created_us: CREATED,
        updated_us: UPDATED,
    };
    insta::assert_snapshot!(
        "route",
        shown(present::route(
            &urls(),
            &route,
            "hello.localhost:8080".into()
        ))
    );
}

#[test]
fn services() {
    let instance = ServiceInstance {
        id: id(10),
        space: id(2),
        name: "mongo".into(),
        credentials: Secret::new(Map::from_iter([(
            "uri".to_owned(),
            json!("mongodb://hunter2"),
        )])),
        tags: vec!["db".into()],
        syslog_drain_url: None,
        route_service_url: None,
        metadata: records::Metadata::default(),
        created_us: CREATED,
        updated_us: CREATED,
    };
    let text = shown(present::service_instance(&urls(), &instance));
    assert!(!text.contains("hunter2"), "{text}");
    insta::assert_snapshot!("service_instance", text);
    let binding = Binding {
        id: id(11),
        app: id(1),
        service_instance: id(10),
        name: None,
        created_us: CREATED,
    };
    insta::assert_snapshot!("binding", shown(present::binding(&urls(), &binding)));
}

#[test]
fn events_and_revisions() {
    let event = Event {
        id: id(12),
        event_type: "audit.app.create".into(),
        actor: id::<model::ids::UserId>(13).to_string(),
        actor_name: "admin".into(),
        target: id::<model::ids::AppId>(1).to_string(),
        target_type: "app".into(),
        target_name: "hello".into(),
        space: Some(id(2)),
        org: Some(id(14)),
        data: json!({ "request": { "name": "hello" } }),
        created_us: CREATED,
    };
    insta::assert_snapshot!("event", shown(present::event(&urls(), event)));
    let revision = Revision {
        id: id(15),
        app: id(1),
        version: 3,
        droplet: id(3),
        description: "New droplet deployed.".into(),
        snapshot: Snapshot {
            droplet: id(3),
            processes: BTreeMap::new(),
        },
        created_us: CREATED,
    };
    insta::assert_snapshot!("revision", shown(present::revision(&urls(), revision)));
}

#[test]
fn tasks() {
    let task = Task {
        id: id(17),
        app: id(1),
        sequence: 7,
        name: "migrate".into(),
        command: Secret::new("migrate --key=hunter2".into()),
        state: TaskState::Failed {
            reason: "Exited with status 3".into(),
        },
        droplet: id(3),
        stack: Stack("host-0123456789ab".into()),
        limits: Limits::DEFAULT,
        metadata: records::Metadata::default(),
        placed: None,
        created_by: "admin".into(),
        created_us: CREATED,
        updated_us: UPDATED,
    };
    insta::assert_snapshot!("task", shown(present::task(&urls(), &task)));
    let listed = shown(present::task_in_list(&urls(), &task));
    assert!(!listed.contains("command"), "{listed}");
}

#[test]
fn a_failed_job_always_has_an_error() {
    let job = Job {
        id: id(16),
        operation: "space.apply_manifest".into(),
        state: JobState::Failed { errors: vec![] },
        warnings: vec!["mind the gap".into()],
        created_us: CREATED,
        updated_us: UPDATED,
    };
    insta::assert_snapshot!("job_failed", shown(present::job(&urls(), job)));
}
