//! A server with its store, its cells, and the people who wish for things.

use std::time::Duration;

use model::deployment::Strategy;
use model::digest::Digest;
use model::droplet::Stack;
use model::health::HealthCheck;
use model::ids::{
    AppId, BuildId, DeploymentId, DropletId, InstanceId, PackageId, SpaceId, TaskId, VersionId,
};
use model::limits::{Limits, Megabytes};
use model::secret::Env;
use scheduler::{DesiredTask, Time};
use store::records::{App, AppState, Build, BuildState, DesiredLrp, LrpSpec, Metadata, Process};
use store::{NewDeployment, ProcessUpdate, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cell::{Cell, STACK};
use super::chance::Chance;
use crate::collector::Collector;
use crate::fleet::{Clock, Fleet};
use crate::route_feed::RouteFeed;
use crate::settings::{Config, Settings};

/// When every world begins, microseconds since the Unix epoch.
pub(super) const AT: Time = Time(1_700_000_000_000_000);
/// How often the store's own threads are waited for after each step.
const ROUNDS: usize = 4;

pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) began: Instant,
    pub(super) store: Store,
    pub(super) server: Option<Server>,
    pub(super) cells: Vec<Cell>,
    pub(super) apps: Vec<AppId>,
    pub(super) tasks: Vec<TaskId>,
    package: PackageId,
    settings: Settings,
    versions: u32,
    _folder: tempfile::TempDir,
}

/// One life of the server.
pub(super) struct Server {
    pub(super) fleet: Fleet,
    tasks: JoinSet<()>,
}

impl World {
    pub(super) async fn with_cells(seed: u64, cells: usize, apps: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).await.expect("a store");
        let org = store.insert_org("main").await.expect("an org");
        let space = store.insert_space(org.id, "dev").await.expect("a space");
        let mut ids = Vec::new();
        for number in 0..apps {
            ids.push(insert_app(&store, space.id, number).await);
        }
        let package = store.insert_package(ids[0]).await.expect("a package").id;
        let digest = Digest::from_bytes([7; 32]);
        let ready = store.finish_package(package, space.id, digest, 10, &[]);
        ready.await.expect("a package");
        let settings = Config {
            data: folder.path().to_owned(),
            domain: "test".into(),
            front_port: 80,
            admin_user: "admin".into(),
            admin_password: None,
            version: "0".into(),
            bounds: crate::Bounds::default(),
        }
        .settings();
        let mut world = Self {
            chance: Chance(seed),
            began: Instant::now(),
            store,
            server: None,
            cells: (0..cells).map(|_| Cell::new()).collect(),
            apps: ids,
            tasks: Vec::new(),
            package,
            settings,
            versions: 0,
            _folder: folder,
        };
        world.start_server().await;
        world
    }

    pub(super) async fn start_server(&mut self) {
        let epoch = self.store.next_epoch().await.expect("an epoch");
        let clock = Clock::Runtime {
            began: self.began,
            at: AT,
        };
        let (store, settings) = (self.store.clone(), self.settings.clone());
        let collector = Collector::new(store.clone(), crate::Bounds::default());
        let fleet = Fleet::with_clock(
            store,
            settings,
            RouteFeed::new(vec![]),
            collector,
            epoch,
            clock,
        );
        let mut tasks = JoinSet::new();
        let driven = fleet.clone();
        tasks.spawn(async move { driven.run(CancellationToken::new()).await });
        self.server = Some(Server { fleet, tasks });
    }

    /// The server is gone without a word, whatever it was doing.
    pub(super) fn kill_server(&mut self) {
        self.server = None;
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.server.as_ref().expect("a server").fleet
    }

    /// Lets time pass, a step at a time.
    pub(super) async fn pass(&mut self, time: Duration, step: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            tokio::time::advance(step).await;
            self.step().await;
        }
    }

    /// [`World::pass`] in steps of 100 ms.
    pub(super) async fn wait(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds), Duration::from_millis(100))
            .await;
    }

    /// What happens now, at all cells and at the server.
    async fn step(&mut self) {
        for cell in &mut self.cells {
            if let Some(server) = &mut self.server
                && let Some(io) = cell.connect(server.fleet.epoch())
            {
                let (fleet, id) = (server.fleet.clone(), cell.id);
                server
                    .tasks
                    .spawn(async move { fleet.session(io, id, CancellationToken::new()).await });
            }
            cell.step(&mut self.chance);
        }
        self.settle().await;
    }

    /// Lets the server's tasks run until they wait for time or for a cell.
    async fn settle(&self) {
        for _ in 0..ROUNDS {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            // What it has asked of the store before this is answered after it.
            let read = || self.store.setting("epoch");
            let nobody = model::ids::CellId::from_uuid(uuid::Uuid::nil());
            let (write, ..) =
                tokio::join!(self.store.lose_cell(nobody), read(), read(), read(), read());
            write.expect("the store answers");
        }
    }

    // People.

    pub(super) fn lrp(&mut self, app: AppId, instances: u32) -> DesiredLrp {
        self.versions += 1;
        DesiredLrp {
            process: app.web_process(),
            app,
            version: VersionId::from_uuid(uuid::Uuid::from_u128(u128::from(self.versions))),
            revision: self.versions,
            instances,
            rolls: false,
            spec: LrpSpec {
                app_name: "app".into(),
                process_type: "web".into(),
                stack: Stack(STACK.into()),
                layers: vec![],
                command: "run".into(),
                env: Env::default(),
                limits: Limits {
                    memory: Megabytes(64),
                    ..Limits::DEFAULT
                },
                log_rate: None,
                health: HealthCheck::default_for("web"),
            },
            updated_us: 0,
        }
    }

    /// A new release of an app.
    pub(super) async fn desire(&mut self, app: AppId, instances: u32) -> DesiredLrp {
        let lrp = self.lrp(app, instances);
        self.count(app, instances).await;
        let desired = self.store.desire_app(app, std::slice::from_ref(&lrp));
        desired.await.expect("desired");
        self.refresh(app).await;
        lrp
    }

    /// A new release that rolls, and is taken back when it fails.
    pub(super) async fn deploy(&mut self, app: AppId, instances: u32) -> DeploymentId {
        let lrp = self.lrp(app, instances);
        let deployment = NewDeployment {
            id: DeploymentId::random(),
            app,
            strategy: Strategy::Rolling,
            max_in_flight: 1,
            droplet: DropletId::random(),
            revision: lrp.revision,
            brings_droplet: false,
            always_rolls: true,
            resize: None,
        };
        let lrps = [lrp];
        let begun = self
            .store
            .begin_deployment(&deployment, &lrps, |_| i64::MAX);
        let id = begun.await.expect("begun").id;
        self.refresh(app).await;
        id
    }

    /// Another number of instances, also of what runs.
    pub(super) async fn count(&self, app: AppId, instances: u32) {
        let update = ProcessUpdate {
            instances: Some(instances),
            ..ProcessUpdate::default()
        };
        let scaled = self.store.scale_process(app.web_process(), &update);
        scaled.await.expect("scaled");
    }

    pub(super) async fn refresh(&self, app: AppId) {
        if let Some(server) = &self.server {
            server.fleet.refresh_app(app).await.expect("refreshed");
        }
    }

    pub(super) async fn build(&mut self) {
        let build = Build {
            id: BuildId::random(),
            app: self.apps[0],
            package: self.package,
            state: BuildState::Staging,
            buildpacks: vec![],
            task: TaskId::random(),
            limits: Limits::DEFAULT,
            placed: None,
            created_by: "somebody".into(),
            created_us: 0,
            updated_us: 0,
        };
        self.store.insert_build(&build).await.expect("a build");
        self.tasks.push(build.task);
        if let Some(server) = &self.server {
            server.fleet.add_task(DesiredTask {
                task: build.task,
                limits: build.limits,
                stack: None,
            });
        }
    }

    // What a test may look at.

    /// The instances of an app that run, with the number of their cell.
    pub(super) fn running(&self, app: AppId) -> Vec<(usize, u32, InstanceId, VersionId)> {
        let all = self
            .cells
            .iter()
            .enumerate()
            .flat_map(|(number, cell)| cell.running().map(move |report| (number, report)));
        let mut found = all
            .filter(|(_, report)| report.app == app)
            .map(|(number, report)| (number, report.index, report.instance, report.version))
            .collect::<Vec<_>>();
        found.sort_unstable_by_key(|(_, index, instance, _)| (*index, *instance));
        found
    }

    /// How many instances were ever ordered.
    pub(super) fn ran(&self) -> usize {
        self.cells.iter().map(|cell| cell.seen.ran.len()).sum()
    }
}

async fn insert_app(store: &Store, space: SpaceId, number: usize) -> AppId {
    let app = App {
        id: AppId::random(),
        space,
        name: format!("app-{number}"),
        state: AppState::Stopped,
        buildpacks: vec![],
        stack: None,
        current_droplet: None,
        env: Env::default(),
        metadata: Metadata::default(),
        created_us: 0,
        updated_us: 0,
    };
    store.insert_app(&app).await.expect("an app");
    let process = Process {
        id: app.id.web_process(),
        app: app.id,
        process_type: "web".into(),
        command: None,
        instances: 1,
        memory: Megabytes(64),
        disk: Megabytes(64),
        log_rate: None,
        health: HealthCheck::default_for("web"),
        created_us: 0,
        updated_us: 0,
    };
    store.insert_process(&process).await.expect("a process");
    app.id
}
