//! A server with an empty store in a temporary folder, its loops running and its internal door open.

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use api_control::{Bounds, Config, Control};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cell::Cell;
use crate::client::Client;

pub(crate) const PASSWORD: &str = "correct horse";

/// What a server is started with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) domain: &'static str,
    pub(crate) password: &'static str,
    pub(crate) bounds: Bounds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            domain: "localhost",
            password: PASSWORD,
            bounds: Bounds::default(),
        }
    }
}

pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) client: Client,
    pub(crate) admin: axum::Router,
    pub(crate) internal: axum::Router,
    pub(crate) shutdown: CancellationToken,
    /// Ends, with all it holds, when the world does.
    tasks: JoinSet<()>,
    data: TempDir,
}

impl World {
    /// Nobody is logged in, no cell is there.
    pub(crate) async fn new() -> Self {
        Self::on(tempfile::tempdir().expect("a folder"), Options::default()).await
    }

    /// The server ends and another begins on the same data.
    pub(crate) async fn restarted(self) -> Self {
        self.restarted_with(Options::default()).await
    }

    pub(crate) async fn restarted_with(self, options: Options) -> Self {
        let Self {
            control,
            client,
            admin,
            internal,
            shutdown,
            mut tasks,
            data,
        } = self;
        shutdown.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no panic");
        }
        let token = client.token.clone();
        drop((control, client, admin, internal));
        // Sessions end on their own, and hold the store until then.
        let lock = std::fs::File::open(data.path().join("lock")).expect("a lock");
        eventually("the store is free", || {
            let free = lock.try_lock().is_ok();
            async move { free.then_some(()) }
        })
        .await;
        drop(lock);
        std::fs::remove_file(data.path().join("internal.sock")).expect("removes");
        let mut world = Self::on(data, options).await;
        world.client.token = token;
        world
    }

    async fn on(data: TempDir, options: Options) -> Self {
        let config = Config {
            data: data.path().to_owned(),
            domain: options.domain.into(),
            front_port: 8080,
            admin_user: "admin".into(),
            admin_password: Some(options.password.to_owned().into()),
            version: "1.2.3".into(),
            bounds: options.bounds,
        };
        let control = Control::open(config).await.expect("opens");
        let shutdown = CancellationToken::new();
        let requests = TaskTracker::new();
        let client = Client::new(api_http::api(control.clone(), &requests).expect("a key"));
        let internal = api_http::internal(control.clone(), shutdown.clone());
        let admin = api_http::admin(control.clone());
        let mut tasks = JoinSet::new();
        let (driven, until) = (control.clone(), shutdown.clone());
        tasks.spawn(async move { driven.run(until).await });
        let listener = UnixListener::bind(data.path().join("internal.sock")).expect("binds");
        let (router, until) = (internal.clone(), shutdown.clone());
        tasks.spawn(async move {
            let requests = TaskTracker::new();
            api_http::serve(listener, router, requests, until, Duration::from_secs(1))
                .await
                .expect("serves");
        });
        Self {
            control,
            client,
            admin,
            internal,
            shutdown,
            tasks,
            data,
        }
    }

    /// The admin is logged in.
    pub(crate) async fn logged_in() -> Self {
        let mut world = Self::new().await;
        world.client.token = Some(world.log_in().await);
        world
    }

    pub(crate) async fn log_in(&self) -> String {
        let form = format!(
            "grant_type=password&username=admin&password={}",
            PASSWORD.replace(' ', "+")
        );
        let answer = Client::ok(&self.client.form("/oauth/token", &form).await);
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.data.path().join("internal.sock")
    }

    pub(crate) fn scratch_files(&self) -> usize {
        std::fs::read_dir(self.control.scratch())
            .expect("a folder")
            .count()
    }

    /// Connects a simulated cell.
    pub(crate) async fn add_cell(&mut self) -> Cell {
        let cell = Cell::new(self.socket());
        self.connect(&cell).await;
        cell
    }

    /// Connects a simulated cell with what runs on it.
    pub(crate) async fn connect(&mut self, cell: &Cell) {
        let running = cell.clone();
        self.tasks.spawn(async move { running.run().await });
        let control = self.control.clone();
        eventually("the cell is known", || {
            let control = control.clone();
            async move { (control.counts().cells == 1).then_some(()) }
        })
        .await;
    }

    pub(crate) async fn space(&self) -> String {
        let spaces = self.client.read("/v3/spaces?names=dev").await;
        spaces["resources"][0]["guid"]
            .as_str()
            .expect("a space")
            .to_owned()
    }

    /// The GUID of a new app.
    pub(crate) async fn new_app(&self, name: &str) -> String {
        let space = self.space().await;
        let body = serde_json::json!({ "name": name, "relationships": { "space": { "data": { "guid": space } } } });
        let app = self.client.post("/v3/apps", &body).await;
        assert_eq!(app.status, 201, "{app:?}");
        app.json()["guid"].as_str().expect("a GUID").to_owned()
    }

    pub(crate) async fn new_package(&self, app: &str) -> String {
        let body = serde_json::json!({ "type": "bits", "relationships": { "app": { "data": { "guid": app } } } });
        let package = self.client.post("/v3/packages", &body).await;
        assert_eq!(package.status, 201, "{package:?}");
        package.json()["guid"].as_str().expect("a GUID").to_owned()
    }
}

/// Asks until there is an answer, at most 20 s.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut check: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A zip of these files.
pub(crate) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write as _;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .expect("starts");
        writer.write_all(content).expect("writes");
    }
    writer.finish().expect("finishes").into_inner()
}
