//! A server, an engine and an agent that can be restarted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cells_agent::{Agent, Budgets, Config, HostSettings};
use cells_engine::fake::FakeEngine;
use model::digest::Digest;
use model::droplet::{Layer, LayerKind};
use model::health::{HealthCheck, HealthCheckKind};
use model::ids::{AppId, BuildId, InstanceId, StreamId, TaskId, VersionId};
use model::limits::{Limits, Megabytes};
use model::log::LogLine;
use model::protocol::cell::{
    CellCapacity, CellMessage, InstanceSpec, Isolation, LogQuery, OrderBody, StagingSpec,
    StreamRequest, TaskSpec, layer_blob, package_blob,
};
use model::secret::Env;
use sha2::{Digest as _, Sha256};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::server::{Server, serve};
use super::session::Session;

/// Longer than any wait of the agent; virtual time.
const PATIENCE: Duration = Duration::from_secs(3000);

pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) engine: FakeEngine,
    pub(crate) config: Config,
    server: Arc<Server>,
    sessions: mpsc::Receiver<Session>,
    agent: Option<(CancellationToken, JoinHandle<anyhow::Result<()>>)>,
    _serving: tokio_util::task::AbortOnDropHandle<()>,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("server.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = Arc::new(Server::default());
        let (sender, sessions) = mpsc::channel(16);
        let serving = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(serve(
            listener,
            server.clone(),
            sender,
        )));
        let config = Config {
            data: folder.path().join("cell"),
            server_socket: socket,
            name: "cell-1".into(),
            zone: "z1".into(),
            exe: "/opt/slipway".into(),
            min_free_disk: Some(model::limits::Megabytes(1)),
            capacity: Some(CellCapacity {
                memory: Megabytes(4096),
                disk: Megabytes(8192),
                containers: 10,
            }),
            concurrent_builds: 1,
            budgets: Budgets::default(),
            host: HostSettings::default(),
        };
        let engine = FakeEngine::new(Isolation::Process);
        Self {
            folder,
            engine,
            config,
            server,
            sessions,
            agent: None,
            _serving: serving,
        }
    }

    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join("cell").join(below)
    }

    /// Starts an agent and waits for its session.
    pub(crate) async fn start(&mut self) -> Session {
        let shutdown = CancellationToken::new();
        let agent = Agent::new(self.config.clone(), self.engine.clone());
        self.agent = Some((shutdown.clone(), tokio::spawn(agent.run(shutdown))));
        self.session().await
    }

    /// The next session that the agent opens.
    pub(crate) async fn session(&mut self) -> Session {
        let mut session = within(self.sessions.recv()).await.unwrap();
        let CellMessage::Hello(hello) = session.read().await else {
            panic!("no greeting")
        };
        let CellMessage::Report {
            instances,
            tasks,
            strangers,
        } = session.read().await
        else {
            panic!("no full report")
        };
        session.hello = Some(hello);
        session
            .inbox
            .extend(instances.iter().cloned().map(CellMessage::Instance));
        session
            .inbox
            .extend(tasks.iter().cloned().map(CellMessage::Task));
        (session.instances, session.tasks, session.strangers) = (instances, tasks, strangers);
        session
    }

    /// Ends the agent; containers stay.
    pub(crate) async fn stop(&mut self) {
        let (shutdown, agent) = self.agent.take().unwrap();
        shutdown.cancel();
        within(agent).await.unwrap().unwrap();
    }

    /// Waits until the agent ends by itself, and tells why.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        let (_, agent) = self.agent.take().unwrap();
        within(agent).await.unwrap().unwrap_err()
    }

    pub(crate) fn put_blob(&self, name: &str, bytes: impl Into<Bytes>) {
        self.server
            .blobs
            .lock()
            .unwrap()
            .insert(name.to_owned(), bytes.into());
    }

    pub(crate) fn blob(&self, name: &str) -> Option<Bytes> {
        self.server.blobs.lock().unwrap().get(name).cloned()
    }

    pub(crate) fn hold_uploads(&self, hold: bool) {
        self.server.holds_uploads.send_replace(hold);
    }

    /// How many blobs the cell has fetched.
    pub(crate) fn fetched(&self) -> usize {
        self.server.fetched.lock().unwrap().len()
    }

    /// A layer of one file, stored at the server.
    pub(crate) fn stored_layer(&self, name: &str) -> Layer {
        let (layer, packed) = pack(name);
        self.put_blob(&layer_blob(&layer.diff_id), packed);
        layer
    }

    /// All lines of an app, as the server gets them.
    pub(crate) async fn logs(&self, session: &mut Session, app: AppId) -> Vec<LogLine> {
        let stream = StreamId::random();
        let (sender, receiver) = oneshot::channel();
        self.server
            .streams
            .lock()
            .unwrap()
            .insert(stream.to_string(), sender);
        let query = LogQuery {
            app,
            start_ns: 0,
            end_ns: None,
            limit: 1000,
            descending: false,
        };
        session
            .accepted(OrderBody::OpenStream {
                stream,
                request: StreamRequest::Logs(query),
            })
            .await;
        let body = within(receiver).await.unwrap();
        body.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    pub(crate) fn instance(&self, session: &Session, kind: HealthCheckKind) -> InstanceSpec {
        InstanceSpec {
            instance: InstanceId::random(),
            app: AppId::random(),
            app_name: "hello".into(),
            process: AppId::random().web_process(),
            process_type: "web".into(),
            version: VersionId::random(),
            index: 2,
            stack: session.stack(),
            layers: vec![],
            command: "java -jar app.jar".into(),
            env: Env::from_iter([
                ("MONGODB_URI", "mongodb://u:hunter2@db/x"),
                ("VCAP_APPLICATION", r#"{"name":"hello"}"#),
            ]),
            limits: Limits::DEFAULT,
            health: HealthCheck {
                kind,
                ..HealthCheck::default_for("web")
            },
            log_rate: None,
            grace: Duration::from_secs(10),
        }
    }

    pub(crate) fn task(&self, session: &Session) -> TaskSpec {
        TaskSpec {
            task: TaskId::random(),
            app: AppId::random(),
            app_name: "hello".into(),
            name: "migrate".into(),
            sequence: 7,
            stack: session.stack(),
            layers: vec![],
            command: "rake db:migrate".into(),
            env: Env::from_iter([("MONGODB_URI", "mongodb://u:hunter2@db/x")]),
            limits: Limits {
                memory: Megabytes(64),
                ..Limits::DEFAULT
            },
            grace: Duration::from_secs(10),
        }
    }

    pub(crate) fn build(&self) -> StagingSpec {
        let package = b"a zip file".to_vec();
        let digest = Digest::from_bytes(Sha256::digest(&package).into());
        self.put_blob(&package_blob(&digest), package.clone());
        StagingSpec {
            task: TaskId::random(),
            build: BuildId::random(),
            app: AppId::random(),
            app_name: "hello".into(),
            package: digest,
            package_size: package.len() as u64,
            buildpacks: vec![],
            env: Env::from_iter([("SECRET", "hunter2")]),
            limits: Limits {
                memory: Megabytes(1024),
                disk: Megabytes(4096),
                pids: 1024,
            },
            timeout: Duration::from_secs(900),
        }
    }
}

/// A layer of one file and its packed bytes.
pub(crate) fn pack(name: &str) -> (Layer, Vec<u8>) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(name.len() as u64);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, format!("app/{name}"), name.as_bytes())
        .unwrap();
    let tar = builder.into_inner().unwrap();
    let packed = zstd::encode_all(tar.as_slice(), 1).unwrap();
    let diff_id = Digest::from_bytes(Sha256::digest(&tar).into());
    let layer = Layer {
        kind: LayerKind::App,
        diff_id,
        size: tar.len() as u64,
        compressed_size: packed.len() as u64,
    };
    (layer, packed)
}

pub(crate) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("it takes too long")
}

/// Checks again and again, as virtual time goes by.
pub(crate) async fn eventually(mut check: impl FnMut() -> bool) {
    within(async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}
