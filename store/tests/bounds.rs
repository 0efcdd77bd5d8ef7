//! What the store keeps, gives back and hides, query by query.

use std::collections::BTreeMap;

use model::digest::Digest;
use model::droplet::{Image, Layer, LayerKind, Stack};
use model::ids::{AppId, BuildId, DropletId, EventId, PackageId, SpaceId, TaskId};
use model::limits::Limits;
use model::secret::Env;
use model::task::StagingFailure;
use store::collect::Rules;
use store::records::{
    App, AppState, Build, BuildState, Droplet, Event, Metadata, Package, PackageState, PageRequest,
    Resource,
};
use store::{AppUpdate, Error, EventFilter, PackageFilter, Staged, Store, now_us};

const DAY_US: i64 = 24 * 3_600 * 1_000_000;

struct World {
    store: Store,
    space: SpaceId,
    data: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let store = Store::open(data.path()).await.expect("opens");
        let org = store.insert_org("main").await.expect("inserts");
        let space = store.insert_space(org.id, "dev").await.expect("inserts");
        Self {
            store,
            space: space.id,
            data,
        }
    }

    async fn app(&self, name: &str) -> AppId {
        let app = App {
            id: AppId::random(),
            space: self.space,
            name: name.into(),
            state: AppState::Stopped,
            buildpacks: Vec::new(),
            stack: None,
            current_droplet: None,
            env: Env::new(),
            metadata: Metadata::default(),
            created_us: now_us(),
            updated_us: now_us(),
        };
        self.store.insert_app(&app).await.expect("inserts");
        app.id
    }

    /// A package of 10 bytes with one file.
    async fn package(&self, app: AppId, number: u8) -> Package {
        let package = self.store.insert_package(app).await.expect("inserts");
        let files = [Resource {
            sha1: format!("{number:040}"),
            size: 10,
            package: digest(number),
            path: "a".into(),
            mode: 0o644,
        }];
        let finished =
            self.store
                .finish_package(package.id, self.space, digest(number), 10, &files);
        finished.await.expect("finishes")
    }

    async fn build(&self, app: AppId, package: PackageId) -> TaskId {
        let task = TaskId::random();
        let build = Build {
            id: BuildId::random(),
            app,
            package,
            state: BuildState::Staging,
            buildpacks: Vec::new(),
            task,
            limits: Limits::DEFAULT,
            placed: None,
            created_by: "admin".into(),
            created_us: now_us(),
            updated_us: now_us(),
        };
        self.store.insert_build(&build).await.expect("inserts");
        task
    }

    async fn droplet(&self, app: AppId, package: PackageId, layers: &[u8]) -> DropletId {
        let task = self.build(app, package).await;
        let layer = |number: &u8| Layer {
            kind: LayerKind::App,
            diff_id: digest(*number),
            size: 1000,
            compressed_size: u64::from(*number),
        };
        let droplet = Droplet {
            id: DropletId::random(),
            app,
            package,
            image: Image {
                stack: Stack("host".into()),
                layers: layers.iter().map(layer).collect(),
                process_types: BTreeMap::new(),
                buildpacks: Vec::new(),
            },
            created_us: now_us(),
        };
        let staged = Staged::Droplet(droplet.clone());
        self.store
            .finish_build(task, &staged)
            .await
            .expect("finishes");
        droplet.id
    }

    async fn event(&self, target: AppId, created_us: i64, said: &str) {
        let event = Event {
            id: EventId::random(),
            event_type: "audit.app.process.crash".into(),
            actor: "a".into(),
            actor_name: "web".into(),
            target: target.to_string(),
            target_type: "app".into(),
            target_name: "shop".into(),
            space: Some(self.space),
            org: None,
            data: serde_json::json!({ "exit_description": said }),
            created_us,
        };
        self.store.insert_event(&event).await.expect("inserts");
    }

    async fn events(&self) -> Vec<Event> {
        let all = self
            .store
            .list_events(&EventFilter::default(), PageRequest::ALL)
            .await;
        all.expect("lists").items
    }

    async fn packages(&self) -> Vec<PackageId> {
        let filter = PackageFilter::default();
        let all = self
            .store
            .list_packages(&filter, PageRequest::ALL)
            .await
            .expect("lists")
            .items;
        all.into_iter().map(|package| package.id).collect()
    }

    async fn is_matched(&self, number: u8) -> bool {
        let sha1s = [format!("{number:040}")];
        let found = self.store.find_resources(&[self.space], &sha1s).await;
        !found.expect("matches").is_empty()
    }

    /// Whether the database or its log holds this text.
    fn holds(&self, text: &str) -> bool {
        ["slipway.db", "slipway.db-wal"].iter().any(|name| {
            let bytes = std::fs::read(self.data.path().join(name)).unwrap_or_default();
            bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        })
    }
}

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

#[tokio::test]
async fn last_words_of_builds_and_apps_are_read_again_and_lie_nowhere_in_the_clear() {
    let world = World::new().await;
    let app = world.app("shop").await;
    let package = world.package(app, 1).await;
    let task = world.build(app, package.id).await;
    let failure = StagingFailure::BuildFailed {
        buildpack: "java".into(),
        command: "mvn package".into(),
        status: 1,
        ran_ms: 9,
        last_lines: vec!["password is hunter2".into()],
    };
    let staged = Staged::Failed(failure.clone());
    let build = world.store.finish_build(task, &staged).await.expect("ends");
    let read = world
        .store
        .find_build(build.id)
        .await
        .expect("reads")
        .expect("there");
    assert_eq!(read.state, BuildState::Failed { failure });
    world.event(app, now_us(), "password is hunter2").await;
    assert_eq!(
        world.events().await[0].data["exit_description"],
        "password is hunter2"
    );
    assert!(!world.holds("hunter2"));
}

#[tokio::test]
async fn packages_beyond_the_budget_go_with_their_files_and_the_longest_unused_first() {
    let world = World::new().await;
    let app = world.app("shop").await;
    let mut packages = Vec::new();
    for number in 1..=5 {
        packages.push(world.package(app, number).await.id);
    }
    let current = world.droplet(app, packages[0], &[1]).await;
    let update = AppUpdate {
        current_droplet: Some(current),
        ..AppUpdate::default()
    };
    world.store.update_app(app, &update).await.expect("updates");
    let rules = Rules::DEFAULT;
    let later = now_us() + DAY_US;
    let fresh = world
        .store
        .collect_packages(&rules, 0, now_us(), false)
        .await
        .expect("collects");
    assert_eq!(fresh.packages, 0, "all were uploaded within the hour");
    world
        .store
        .match_packages(&[digest(2)])
        .await
        .expect("notes");
    let dry = world
        .store
        .collect_packages(&rules, 30, later, true)
        .await
        .expect("tells");
    assert_eq!((dry.packages, world.packages().await.len()), (1, 5));
    // Two hold the budget of 20 bytes besides the pinned ones: those of the latest use are 2, which was matched, and 5.
    let done = world
        .store
        .collect_packages(&rules, 20, later, false)
        .await
        .expect("collects");
    assert_eq!(done.packages, 2);
    assert_eq!(done.freed.packages, [digest(3), digest(4)].into());
    assert_eq!(
        world.packages().await,
        [packages[0], packages[1], packages[4]]
    );
    for (number, want) in [(1, true), (2, true), (3, false), (4, false), (5, true)] {
        assert_eq!(
            world.is_matched(number).await,
            want,
            "file of package {number}"
        );
    }
    let all = world
        .store
        .collect_packages(&rules, 0, later, false)
        .await
        .expect("collects");
    assert_eq!(all.packages, 1, "the current droplet's and the newest stay");
    assert_eq!(world.packages().await, [packages[0], packages[4]]);
}

#[tokio::test]
async fn a_package_that_is_being_built_and_bytes_that_another_app_has_stay() {
    let world = World::new().await;
    let (shop, blog) = (world.app("shop").await, world.app("blog").await);
    let built = world.package(shop, 1).await.id;
    world.build(shop, built).await;
    let twin = world.package(shop, 2).await.id;
    world.package(shop, 3).await;
    let other = world.package(blog, 2).await.id;
    let later = now_us() + DAY_US;
    let done = world
        .store
        .collect_packages(&Rules::DEFAULT, 0, later, false)
        .await
        .expect("collects");
    assert_eq!((done.packages, done.freed.packages.len()), (1, 0));
    let left = world.packages().await;
    assert!(left.contains(&built) && left.contains(&other) && !left.contains(&twin));
    assert!(world.is_matched(2).await);
    let freed = world.store.delete_app(blog).await.expect("deletes");
    assert_eq!(freed.packages, [digest(2)].into());
    assert!(!world.is_matched(2).await);
}

#[tokio::test]
async fn unfinished_packages_old_builds_and_waiting_droplets_of_an_app_are_few() {
    let world = World::new().await;
    let app = world.app("shop").await;
    let refused = world.store.insert_package(app).await.expect("inserts").id;
    world
        .store
        .fail_package(refused, "no zip")
        .await
        .expect("fails");
    let package = world.package(app, 1).await.id;
    let mut droplets = Vec::new();
    for number in 1..=7 {
        droplets.push(world.droplet(app, package, &[number, 100]).await);
    }
    let rules = Rules {
        builds: 3,
        ..Rules::DEFAULT
    };
    let now = now_us();
    let early = world
        .store
        .collect_app(app, &rules, now, false)
        .await
        .expect("collects");
    assert_eq!((early.packages, early.builds, early.droplets), (0, 4, 2));
    assert_eq!(
        early.freed.layers,
        [digest(1), digest(2)].into(),
        "the shared one stays"
    );
    let late = world
        .store
        .collect_app(app, &rules, now + 2 * DAY_US, false)
        .await
        .expect("collects");
    assert_eq!((late.packages, late.builds, late.droplets), (1, 0, 0));
    assert!(
        world
            .store
            .find_package(refused)
            .await
            .expect("reads")
            .is_none()
    );
    assert!(
        world
            .store
            .find_droplet(droplets[2])
            .await
            .expect("reads")
            .is_some()
    );
    let usage = world.store.usage(5).await.expect("adds up");
    assert_eq!(usage.layers_bytes, 3 + 4 + 5 + 6 + 7 + 100);
    assert_eq!((usage.packages_bytes, usage.apps[0].bytes), (10, 125));
    // One that is gone is not made current.
    let update = AppUpdate {
        current_droplet: Some(droplets[0]),
        ..AppUpdate::default()
    };
    let gone = world.store.update_app(app, &update).await;
    assert!(matches!(gone, Err(Error::Missing)), "{gone:?}");
    let package = world
        .store
        .find_package(package)
        .await
        .expect("reads")
        .expect("kept");
    assert!(matches!(package.state, PackageState::Ready { .. }));
}

#[tokio::test]
async fn events_are_bounded_by_age_by_app_and_in_all() {
    let world = World::new().await;
    let (shop, blog) = (world.app("shop").await, world.app("blog").await);
    let now = now_us();
    for age in [0, 1, 2, 100] {
        world.event(shop, now - age * DAY_US, "x").await;
        world.event(blog, now - age * DAY_US - 1, "x").await;
    }
    let rules = Rules {
        events: 2,
        all_events: 3,
        ..Rules::DEFAULT
    };
    let of_age = Rules::DEFAULT;
    let old = world
        .store
        .collect_events(&of_age, now, false)
        .await
        .expect("collects");
    assert_eq!((old.events, world.events().await.len()), (2, 6));
    let of_app = world
        .store
        .collect_app(shop, &rules, now, false)
        .await
        .expect("collects");
    assert_eq!((of_app.events, world.events().await.len()), (1, 5));
    let most = world
        .store
        .collect_events(&rules, now, false)
        .await
        .expect("collects");
    assert_eq!((most.events, world.events().await.len()), (2, 3));
}

#[tokio::test]
async fn the_space_of_deleted_rows_goes_back_to_the_disk_and_the_log_is_cut() {
    let world = World::new().await;
    let app = world.app("shop").await;
    for _ in 0..40 {
        world.event(app, 1, &"x".repeat(100_000)).await;
    }
    world.store.vacuum().await.expect("vacuums");
    let size = || {
        let file = |name: &str| {
            let path = world.data.path().join(name);
            std::fs::metadata(path).map_or(0, |found| found.len())
        };
        (file("slipway.db"), file("slipway.db-wal"))
    };
    let (before, _) = size();
    assert!(before > 4_000_000, "{before}");
    world
        .store
        .collect_events(&Rules::DEFAULT, now_us(), false)
        .await
        .expect("collects");
    while world.store.vacuum().await.expect("vacuums") {}
    let (database, log) = size();
    assert!(database < before / 4, "{before} → {database}");
    assert_eq!(log, 0);
}

#[tokio::test]
async fn a_database_of_an_earlier_version_is_brought_to_giving_space_back() {
    let data = tempfile::tempdir().expect("a folder");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(data.path().join("slipway.db"))
        .create_if_missing(true);
    let earlier = sqlx::SqlitePool::connect_with(options.clone())
        .await
        .expect("opens");
    sqlx::query("CREATE TABLE old (x TEXT)")
        .execute(&earlier)
        .await
        .expect("creates");
    earlier.close().await;
    drop(Store::open(data.path()).await.expect("opens"));
    let pool = sqlx::SqlitePool::connect_with(options)
        .await
        .expect("opens");
    let mode: i64 = sqlx::query_scalar("PRAGMA auto_vacuum")
        .fetch_one(&pool)
        .await
        .expect("reads");
    assert_eq!(mode, 2, "incremental");
}
