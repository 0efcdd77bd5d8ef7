use std::collections::BTreeMap;

use model::digest::Digest;
use model::droplet::{Image, Stack};
use model::health::HealthCheck;
use model::ids::{BuildId, TaskId, VersionId};
use model::limits::{Limits, Megabytes};
use model::secret::Env;
use tempfile::TempDir;

use super::*;
use crate::AppUpdate;
use crate::builds::Staged;
use crate::fixtures::store_with_app;
use crate::records::{Build, BuildState, Droplet, Figures, LrpSpec, Process, Snapshot};

/// An app with a `web` process of two instances, which has release 1 running.
struct World {
    store: Store,
    app: AppId,
    first: DropletId,
    second: DropletId,
    third: DropletId,
    _folder: TempDir,
}

async fn world() -> World {
    let (folder, store, app) = store_with_app().await;
    let process = Process {
        id: app.id.web_process(),
        app: app.id,
        process_type: "web".into(),
        command: None,
        instances: 2,
        memory: Megabytes(64),
        disk: Megabytes(64),
        log_rate: None,
        health: HealthCheck::default_for("web"),
        created_us: 0,
        updated_us: 0,
    };
    store.insert_process(&process).await.expect("a process");
    let package = store.insert_package(app.id).await.expect("a package").id;
    let digest = Digest::from_bytes([7; 32]);
    let ready = store.finish_package(package, app.space, digest, 10, &[]);
    ready.await.expect("a package");
    let mut droplets = Vec::new();
    for _ in 0..3 {
        let build = Build {
            id: BuildId::random(),
            app: app.id,
            package,
            state: BuildState::Staging,
            buildpacks: vec![],
            task: TaskId::random(),
            limits: Limits::DEFAULT,
            placed: None,
            created_by: "somebody".into(),
            created_us: 0,
            updated_us: 0,
        };
        store.insert_build(&build).await.expect("a build");
        let droplet = Droplet {
            id: DropletId::random(),
            app: app.id,
            package,
            image: Image {
                stack: Stack("host".into()),
                layers: vec![],
                process_types: BTreeMap::from([("web".into(), "run".into())]),
                buildpacks: vec![],
            },
            created_us: 0,
        };
        droplets.push(droplet.id);
        let staged = Staged::Droplet(droplet);
        store.finish_build(build.task, &staged).await.expect("ends");
    }
    let world = World {
        store,
        app: app.id,
        first: droplets[0],
        second: droplets[1],
        third: droplets[2],
        _folder: folder,
    };
    let begun = world.begin(world.first, None).await;
    assert_eq!(begun.state, DeploymentState::Deployed, "nothing served");
    world
}

impl World {
    fn web(&self) -> ProcessId {
        self.app.web_process()
    }

    /// What somebody asks for who read the app a while ago: the count in the LRP is of then.
    async fn wish(&self, droplet: DropletId) -> (NewDeployment, DesiredLrp) {
        let update = AppUpdate {
            current_droplet: Some(droplet),
            ..AppUpdate::default()
        };
        self.store.update_app(self.app, &update).await.expect("set");
        let spec = LrpSpec {
            app_name: "hello".into(),
            process_type: "web".into(),
            stack: Stack("host".into()),
            layers: vec![],
            command: "run".into(),
            env: Env::new(),
            limits: Limits::DEFAULT,
            log_rate: None,
            health: HealthCheck::default_for("web"),
        };
        let snapshot = Snapshot {
            droplet,
            processes: BTreeMap::from([("web".into(), spec.clone())]),
        };
        let release = self.store.release(self.app, &snapshot, |_| String::new());
        let revision = release.await.expect("a release").version;
        let new = NewDeployment {
            id: DeploymentId::random(),
            app: self.app,
            strategy: Strategy::Rolling,
            max_in_flight: 1,
            droplet,
            revision,
            brings_droplet: false,
            always_rolls: false,
            resize: None,
        };
        let lrp = DesiredLrp {
            process: self.web(),
            app: self.app,
            version: VersionId::random(),
            revision,
            instances: 2,
            rolls: false,
            spec,
            updated_us: 0,
        };
        (new, lrp)
    }

    async fn begin(&self, droplet: DropletId, resize: Option<ProcessUpdate>) -> Deployment {
        let (mut new, lrp) = self.wish(droplet).await;
        new.resize = resize.map(|update| (self.web(), update));
        self.commit(&new, lrp).await
    }

    async fn commit(&self, new: &NewDeployment, lrp: DesiredLrp) -> Deployment {
        let lrps = [lrp];
        let begun = self.store.begin_deployment(new, &lrps, |_| i64::MAX);
        begun.await.expect("begins")
    }

    async fn fail(&self, deployment: &Deployment) {
        let error = "exited".to_owned();
        let state = DeploymentState::Failed { error };
        let ended = self.store.end_deployment(deployment.id, &state);
        ended.await.expect("ends");
    }

    async fn scale(&self, instances: u32) {
        let update = ProcessUpdate {
            instances: Some(instances),
            ..ProcessUpdate::default()
        };
        let scaled = self.store.scale_process(self.web(), &update);
        scaled.await.expect("scales");
    }

    /// Release and number of instances that are desired.
    async fn desired(&self) -> (u32, u32) {
        let lrps = self.store.list_desired_lrps(Some(self.app)).await;
        let lrps = lrps.expect("reads");
        assert_eq!(lrps.len(), 1);
        (lrps[0].revision, lrps[0].instances)
    }

    async fn figures(&self) -> Figures {
        let found = self.store.find_process(self.web()).await.expect("reads");
        found.expect("a process").figures()
    }

    async fn current_droplet(&self) -> Option<DropletId> {
        let found = self.store.find_app(self.app).await.expect("reads");
        found.expect("an app").current_droplet
    }
}

#[tokio::test]
async fn the_same_release_again_rolls_while_it_has_not_proved_itself_and_keeps_what_served() {
    let world = world().await;
    let again = world.begin(world.first, None).await;
    assert_eq!(again.state, DeploymentState::Deployed, "nothing changes");
    let rolling = world.begin(world.second, None).await;
    assert_eq!(rolling.state, DeploymentState::Active);
    let again = world.begin(world.second, None).await;
    assert_eq!(again.state, DeploymentState::Active);
    assert_eq!(again.revision, rolling.revision);
    assert_eq!(
        (again.previous_revision, again.previous_droplet),
        (1, Some(world.first))
    );
    assert_eq!(again.previous[0].revision, 1);
    let replaced = world.store.find_deployment(rolling.id).await;
    assert_eq!(
        replaced.expect("reads").expect("kept").state,
        DeploymentState::Superseded
    );
    world.fail(&again).await;
    assert_eq!(world.desired().await, (1, 2));
}

#[tokio::test]
async fn a_deployment_goes_back_to_what_is_desired_when_it_begins() {
    let world = world().await;
    let bad = world.begin(world.second, None).await;
    // Asked for while the bad release is desired, and begun after that one was taken back.
    let (new, lrp) = world.wish(world.second).await;
    world.fail(&bad).await;
    let next = world.commit(&new, lrp).await;
    assert_eq!(
        (next.previous_revision, next.previous_droplet),
        (1, Some(world.first))
    );
    world.fail(&next).await;
    assert_eq!(world.desired().await, (1, 2));
}

#[tokio::test]
async fn a_count_that_changes_before_or_during_a_deployment_holds_after_it() {
    let world = world().await;
    let (new, lrp) = world.wish(world.second).await;
    world.scale(3).await;
    let deployment = world.commit(&new, lrp.clone()).await;
    assert_eq!(world.desired().await, (2, 3));
    world.scale(10).await;
    world.fail(&deployment).await;
    assert_eq!(world.desired().await, (1, 10));
    world.scale(4).await;
    let lrps = [lrp];
    let started = world.store.desire_app(world.app, &lrps);
    started.await.expect("starts");
    assert_eq!(world.desired().await, (2, 4));
}

#[tokio::test]
async fn figures_that_came_with_a_failed_deployment_go_and_later_ones_stay() {
    let world = world().await;
    let before = world.figures().await;
    let size = |instances, memory| ProcessUpdate {
        instances,
        memory: Some(Megabytes(memory)),
        ..ProcessUpdate::default()
    };
    let first = world.begin(world.second, Some(size(Some(5), 128))).await;
    assert_eq!(world.desired().await, (2, 5));
    // The next one takes its place, also as the one that is to be undone.
    let second = world.begin(world.second, Some(size(None, 256))).await;
    assert_eq!(first.previous[0].instances, 2);
    assert_eq!(second.previous[0].instances, 2);
    assert_eq!(world.figures().await.memory, Megabytes(256));
    world.fail(&second).await;
    assert_eq!(world.figures().await, before);
    assert_eq!(world.desired().await, (1, 2));
    // What somebody asked for since then is not undone.
    let third = world.begin(world.second, Some(size(Some(5), 128))).await;
    world.scale(7).await;
    let canceled = world
        .store
        .end_deployment(third.id, &DeploymentState::Canceled);
    canceled.await.expect("ends");
    let want = Figures {
        instances: 7,
        ..before
    };
    assert_eq!(world.figures().await, want);
    assert_eq!(world.desired().await, (1, 7));
}

#[tokio::test]
async fn a_failed_deployment_gives_the_app_its_droplet_back_unless_it_has_another_by_then() {
    let world = world().await;
    let failed = world.begin(world.second, None).await;
    assert_eq!(world.current_droplet().await, Some(world.second));
    world.fail(&failed).await;
    assert_eq!(world.current_droplet().await, Some(world.first));
    let failed = world.begin(world.second, None).await;
    let update = AppUpdate {
        current_droplet: Some(world.third),
        ..AppUpdate::default()
    };
    let set = world.store.update_app(world.app, &update);
    set.await.expect("sets");
    world.fail(&failed).await;
    assert_eq!(world.current_droplet().await, Some(world.third));
}
