//! Seeded histories of a few apps whose builds share layers, with collections between and at the same time as everything
//! else. The clock that the collector is told runs ahead at will; what is kept must not depend on it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use model::digest::Digest;
use model::droplet::{Image, Layer, LayerKind, Stack};
use model::ids::{AppId, PackageId, TaskId};
use model::limits::Limits;
use model::protocol::cell::{layer_blob, package_blob};
use model::secret::Env;
use model::task::TaskOutcome;
use store::DropletFilter;
use store::records::{Build, BuildState, DeploymentState, Metadata, PageRequest};

use super::*;
use crate::{Actor, Config, Control, Error, NewApp};

const HOUR_US: i64 = 3_600 * 1_000_000;
const APPS: u64 = 3;
/// Few, so that builds share them.
const LAYERS: u64 = 9;

/// Splitmix64: the same numbers for the same seed on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// A build as its cell sees it.
struct Building {
    task: TaskId,
    wanted: Vec<Digest>,
    stored: usize,
}

struct World {
    control: Control,
    actor: Actor,
    apps: Vec<AppId>,
    building: BTreeMap<AppId, Building>,
    /// Releases that were made, newest last, by app.
    released: BTreeMap<AppId, Vec<u32>>,
    packages: u64,
    /// Apps whose current droplet is an earlier one again; its source need not be there any more.
    went_back: BTreeSet<AppId>,
    _data: tempfile::TempDir,
}

fn digest(kind: u8, number: u64) -> Digest {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    // The sweep goes by the first digit.
    bytes[0] = u8::try_from(number % 251).expect("small").wrapping_mul(37);
    Digest::from_bytes(bytes)
}

impl World {
    async fn new() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let control = Control::open(Config {
            data: data.path().to_owned(),
            domain: "localhost".into(),
            front_port: 8080,
            admin_user: "admin".into(),
            admin_password: None,
            version: "0".into(),
            bounds: Bounds {
                keep_free: Some(0),
                package_bytes: 20,
            },
        })
        .await
        .expect("opens");
        let user = control.store().find_user_by_name("admin").await;
        let user = user.expect("reads").expect("there is one");
        Self {
            control,
            actor: Actor {
                user: user.id,
                name: user.username,
            },
            apps: Vec::new(),
            building: BTreeMap::new(),
            released: BTreeMap::new(),
            packages: 0,
            went_back: BTreeSet::new(),
            _data: data,
        }
    }

    async fn add_app(&mut self) -> AppId {
        let spaces = self
            .control
            .store()
            .list_spaces(&[], &[], &[], PageRequest::ALL)
            .await;
        let new = NewApp {
            space: spaces.expect("reads").items[0].id,
            name: format!("app-{}", AppId::random()),
            buildpacks: Vec::new(),
            stack: None,
            env: Env::new(),
            metadata: Metadata::default(),
        };
        let app = self.control.create_app(&self.actor, new).await;
        let app = app.expect("creates").id;
        self.apps.push(app);
        app
    }

    /// A package arrives and a build of it begins.
    async fn begin_build(&mut self, app: AppId, wanted: Vec<Digest>) {
        let store = self.control.store();
        let package = store.insert_package(app).await.expect("inserts");
        self.packages += 1;
        // Some have the bytes of an earlier one.
        let bytes = digest(7, self.packages % 5);
        let blob = package_blob(&bytes);
        let hold = store.blobs().hold([blob.clone()]);
        let file = self.control.scratch().join(package.id.to_string());
        std::fs::write(&file, "0123456789").expect("writes");
        store
            .blobs()
            .adopt_file(&blob, &file)
            .await
            .expect("adopts");
        let space = self
            .control
            .store()
            .find_app(app)
            .await
            .expect("reads")
            .expect("there")
            .space;
        let package = store
            .finish_package(package.id, space, bytes, 10, &[])
            .await;
        let package = package.expect("finishes").id;
        drop(hold);
        let task = TaskId::random();
        store
            .insert_build(&staging(app, package, task))
            .await
            .expect("inserts");
        let stored = 0;
        self.building.insert(
            app,
            Building {
                task,
                wanted,
                stored,
            },
        );
    }

    /// The cell stores the next layer of a build, where the server lacks it, or reports the end.
    async fn go_on(&mut self, app: AppId) {
        let Some(build) = self.building.get_mut(&app) else {
            return;
        };
        let store = self.control.store();
        if let Some(layer) = build.wanted.get(build.stored) {
            let blob = layer_blob(layer);
            if self.control.blob_size(&blob).await.expect("asks").is_none() {
                let content = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"layer"))]);
                self.control
                    .write_blob(&blob, 5, content)
                    .await
                    .expect("writes");
            }
            build.stored += 1;
            return;
        }
        let layers = build.wanted.iter().map(|digest| Layer {
            kind: LayerKind::App,
            diff_id: *digest,
            size: 9,
            compressed_size: 5,
        });
        let image = Image {
            stack: Stack("host".into()),
            layers: layers.collect(),
            process_types: BTreeMap::from([("web".into(), "run".into())]),
            buildpacks: Vec::new(),
        };
        let task = build.task;
        self.control
            .fleet()
            .finish_task(
                task,
                TaskOutcome::Staged { image },
                store::TaskTeller::Server,
            )
            .await
            .expect("finishes");
        let build = store
            .find_build_by_task(task)
            .await
            .expect("reads")
            .expect("kept");
        let BuildState::Staged { droplet } = build.state else {
            panic!("a layer that the cell was told is there was gone: {build:?}");
        };
        self.building.remove(&app);
        let current = self
            .control
            .set_current_droplet(&self.actor, app, droplet)
            .await;
        current.expect("a new droplet can be made current");
        self.control
            .restart_app(&self.actor, app)
            .await
            .expect("starts");
        self.went_back.remove(&app);
        self.note_release(app).await;
    }

    async fn note_release(&mut self, app: AppId) {
        let newest = self
            .versions(app)
            .await
            .first()
            .copied()
            .expect("a release");
        let known = self.released.entry(app).or_default();
        if known.last() != Some(&newest) {
            known.push(newest);
        }
    }

    /// Newest first.
    async fn versions(&self, app: AppId) -> Vec<u32> {
        let all = self
            .control
            .store()
            .list_revisions(app, &[], PageRequest::ALL)
            .await;
        all.expect("reads")
            .items
            .iter()
            .map(|release| release.version)
            .collect()
    }

    async fn roll_back(&mut self, app: AppId, random: &mut Random) {
        let known = self.released.get(&app).cloned().unwrap_or_default();
        if known.is_empty() {
            return;
        }
        let recent = &known[known.len().saturating_sub(5)..];
        let pick = usize::try_from(random.below(recent.len() as u64)).expect("small");
        let store = self.control.store();
        let found = store
            .list_revisions(app, &[recent[pick]], PageRequest::ALL)
            .await;
        let found = found.expect("reads").items;
        let [to] = found.as_slice() else {
            panic!("of {known:?}, {} is gone", recent[pick]);
        };
        let wish = crate::DeploymentWish::Release(to.id);
        let rolled = self
            .control
            .create_deployment(&self.actor, app, wish, crate::How::default())
            .await;
        rolled.expect("one of the last five comes back");
        self.went_back.insert(app);
        self.note_release(app).await;
    }

    async fn end_deployment(&self, app: AppId, state: DeploymentState) {
        let filter = store::DeploymentFilter {
            apps: vec![app],
            active: true,
            ..Default::default()
        };
        let store = self.control.store();
        for active in store
            .list_deployments(&filter, PageRequest::ALL)
            .await
            .expect("reads")
            .items
        {
            store.end_deployment(active.id, &state).await.expect("ends");
        }
    }

    fn is_there(&self, layer: &Digest) -> bool {
        self.control
            .store()
            .blobs()
            .local_path(&layer_blob(layer))
            .exists()
    }

    async fn check(&self) {
        let store = self.control.store();
        for app in &self.apps {
            let known = self.released.get(app).cloned().unwrap_or_default();
            let listed = self.versions(*app).await;
            for version in known.iter().rev().take(5) {
                assert!(
                    listed.contains(version),
                    "of {known:?} only {listed:?} are left"
                );
            }
            let releases = store
                .list_revisions(*app, &[], PageRequest::ALL)
                .await
                .expect("reads");
            let mut needed = BTreeSet::new();
            for release in releases.items {
                let droplet = store.find_droplet(release.droplet).await.expect("reads");
                needed.extend(
                    droplet
                        .expect("its droplet")
                        .image
                        .layers
                        .into_iter()
                        .map(|layer| layer.diff_id),
                );
            }
            for lrp in store.list_desired_lrps(Some(*app)).await.expect("reads") {
                needed.extend(lrp.spec.layers.into_iter().map(|layer| layer.diff_id));
            }
            if let Some(current) = store
                .find_app(*app)
                .await
                .expect("reads")
                .expect("there")
                .current_droplet
            {
                let current = store
                    .find_droplet(current)
                    .await
                    .expect("reads")
                    .expect("kept");
                let package = store.find_package(current.package).await.expect("reads");
                assert!(
                    package.is_some() || self.went_back.contains(app),
                    "the package of the current droplet"
                );
                needed.extend(current.image.layers.into_iter().map(|layer| layer.diff_id));
            }
            if let Some(build) = self.building.get(app) {
                needed.extend(&build.wanted[..build.stored]);
            }
            for layer in needed {
                assert!(self.is_there(&layer), "layer {layer}");
            }
        }
    }

    /// What is left once all is quiet.
    async fn check_bounds(&self) {
        let store = self.control.store();
        let mut layers = BTreeSet::new();
        for app in &self.apps {
            let releases = self.versions(*app).await.len();
            // The last five, the one that is desired, and the two of a deployment under way.
            assert!(releases <= 8, "{releases} releases are left");
            let filter = DropletFilter {
                apps: vec![*app],
                ..DropletFilter::default()
            };
            let droplets = store
                .list_droplets(&filter, PageRequest::ALL)
                .await
                .expect("reads")
                .items;
            assert!(droplets.len() <= 8, "{} droplets are left", droplets.len());
            layers.extend(
                droplets
                    .iter()
                    .flat_map(|droplet| droplet.image.layers.iter().map(|layer| layer.diff_id)),
            );
        }
        let on_disk = (0..LAYERS)
            .map(|number| digest(1, number))
            .filter(|layer| self.is_there(layer));
        assert_eq!(
            on_disk.collect::<BTreeSet<_>>(),
            layers,
            "what is stored is what is needed"
        );
    }
}

fn staging(app: AppId, package: PackageId, task: TaskId) -> Build {
    Build {
        id: model::ids::BuildId::random(),
        app,
        package,
        state: BuildState::Staging,
        buildpacks: Vec::new(),
        task,
        limits: Limits::DEFAULT,
        placed: None,
        created_by: "admin".into(),
        created_us: store::now_us(),
        updated_us: store::now_us(),
    }
}

async fn history(seed: u64) {
    let mut random = Random(seed);
    let mut world = World::new().await;
    for _ in 0..APPS {
        world.add_app().await;
    }
    for _ in 0..50 {
        let collector = world.control.collector().clone();
        let ahead = i64::try_from(random.below(3)).expect("small") * HOUR_US;
        let collects = random.below(2) == 0;
        let collect = async {
            if collects {
                collector
                    .collect_at(store::now_us() + ahead, false)
                    .await
                    .expect("collects");
            }
        };
        let index = usize::try_from(random.below(world.apps.len() as u64)).expect("small");
        let app = world.apps[index];
        let act = async {
            match random.below(12) {
                0..=2 if !world.building.contains_key(&app) => {
                    let layers = (0..1 + random.below(2)).map(|_| digest(1, random.below(LAYERS)));
                    let layers = layers.collect();
                    world.begin_build(app, layers).await;
                }
                0..=6 => world.go_on(app).await,
                7 => world.roll_back(app, &mut random).await,
                8 => world.end_deployment(app, DeploymentState::Deployed).await,
                9 => {
                    let error = "it did not start".to_owned();
                    world.went_back.insert(app);
                    world
                        .end_deployment(app, DeploymentState::Failed { error })
                        .await;
                }
                // A crash between the rows and the blobs.
                10 => {
                    let rules = Rules::DEFAULT;
                    let store = world.control.store();
                    store
                        .collect_app(app, &rules, store::now_us() + ahead, false)
                        .await
                        .expect("collects");
                }
                _ => {
                    world
                        .control
                        .collect(&world.actor, true)
                        .await
                        .expect("tells");
                }
            }
        };
        tokio::join!(collect, act);
        world.check().await;
    }
    let doomed = world.apps.remove(0);
    world.building.clear();
    world
        .control
        .delete_app(&world.actor, doomed)
        .await
        .expect("deletes");
    for app in world.apps.clone() {
        for build in world
            .control
            .store()
            .list_staging_builds()
            .await
            .expect("reads")
        {
            world
                .control
                .fleet()
                .finish_task(
                    build.task,
                    TaskOutcome::Cancelled,
                    store::TaskTeller::Server,
                )
                .await
                .expect("ends");
        }
        world.end_deployment(app, DeploymentState::Deployed).await;
    }
    let collector = world.control.collector();
    collector
        .collect_at(store::now_us() + 30 * HOUR_US, false)
        .await
        .expect("collects");
    world.check().await;
    world.check_bounds().await;
    let again = collector
        .collect_at(store::now_us() + 30 * HOUR_US, false)
        .await
        .expect("collects");
    assert!(
        again.is_empty(),
        "a second collection finds nothing: {again:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_meanwhile_a_collection_takes_nothing_that_is_needed_and_leaves_nothing_that_is_not()
 {
    for seed in 0..12 {
        let ran = tokio::spawn(history(seed)).await;
        assert!(ran.is_ok(), "seed {seed}: {ran:?}");
    }
}

#[tokio::test]
async fn the_sixth_release_goes_and_a_layer_that_a_newer_one_shares_stays() {
    let mut world = World::new().await;
    let app = world.add_app().await;
    let shared = digest(1, 100);
    for number in 0..8 {
        world
            .begin_build(app, vec![shared, digest(1, number)])
            .await;
        for _ in 0..3 {
            world.go_on(app).await;
        }
        world.end_deployment(app, DeploymentState::Deployed).await;
    }
    let told = world
        .control
        .collect(&world.actor, true)
        .await
        .expect("tells");
    assert_eq!(world.versions(app).await.len(), 8, "telling takes nothing");
    let done = world
        .control
        .collect(&world.actor, false)
        .await
        .expect("collects");
    assert_eq!((done.collected.releases, done.collected.droplets), (3, 3));
    assert_eq!(told.collected.releases, 3);
    assert_eq!(world.versions(app).await, [8, 7, 6, 5, 4]);
    for number in 0..8 {
        assert_eq!(
            world.is_there(&digest(1, number)),
            number >= 3,
            "layer {number}"
        );
    }
    assert!(world.is_there(&shared));
    assert_eq!(done.swept.bytes % 5, 0);
    assert!(done.swept.bytes >= 15, "{done:?}");
}

#[tokio::test]
async fn what_a_crash_left_without_a_row_goes_after_a_while_and_an_upload_does_not() {
    let world = World::new().await;
    let orphan = digest(1, 1);
    let store = world.control.store();
    let content = || stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"layer"))]);
    store
        .blobs()
        .write(&layer_blob(&orphan), content())
        .await
        .expect("writes");
    let collector = world.control.collector();
    let now = store::now_us();
    collector.collect_at(now, false).await.expect("collects");
    assert!(world.is_there(&orphan), "it may be an upload under way");
    let held = store.blobs().hold([layer_blob(&orphan)]);
    collector
        .collect_at(now + 2 * HOUR_US, false)
        .await
        .expect("collects");
    assert!(world.is_there(&orphan), "it is held");
    drop(held);
    collector
        .collect_at(now + 2 * HOUR_US, false)
        .await
        .expect("collects");
    assert!(!world.is_there(&orphan));
}

#[tokio::test]
async fn a_droplet_that_was_collected_is_neither_made_current_nor_released() {
    let mut world = World::new().await;
    let app = world.add_app().await;
    for number in 0..7 {
        world.begin_build(app, vec![digest(1, number)]).await;
        world.go_on(app).await;
        world.go_on(app).await;
        world.end_deployment(app, DeploymentState::Deployed).await;
    }
    let store = world.control.store();
    let oldest = store
        .list_revisions(app, &[1], PageRequest::ALL)
        .await
        .expect("reads")
        .items;
    let [oldest] = oldest.as_slice() else {
        panic!("it is there before");
    };
    world
        .control
        .collect(&world.actor, false)
        .await
        .expect("collects");
    let refused = world
        .control
        .set_current_droplet(&world.actor, app, oldest.droplet)
        .await;
    assert!(
        matches!(refused, Err(Error::Unprocessable(_))),
        "{refused:?}"
    );
    let found = store.find_app(app).await.expect("reads").expect("there");
    // Whoever read the release before the collection and goes on after it.
    let late = world
        .control
        .roll_back(&found, oldest, crate::How::default())
        .await;
    assert!(matches!(late, Err(Error::NotFound { .. })), "{late:?}");
}
