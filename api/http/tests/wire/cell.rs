//! A simulated cell: it speaks the cell protocol over the internal socket and pretends to build and to run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::digest::Digest;
use model::droplet::{Image, Layer, LayerKind, Stack, UsedBuildpack};
use model::ids::{CellId, Incarnation, InstanceId, TaskId};
use model::instance::{Exit, ExitReason, InstanceReport, InstanceState};
use model::limits::Megabytes;
use model::log::{LogLine, LogSource, OutputStream};
use model::protocol::cell::{
    CellCapacity, CellHello, CellMessage, InstanceSpec, Isolation, Order, OrderBody, StagingSpec,
    StreamRequest, TaskSpec, UPGRADE, layer_blob, package_blob,
};
use model::task::{TaskOutcome, TaskReport, TaskState};
use tokio::net::UnixStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

pub(crate) const STACK: &str = "host-simulated";
pub(crate) const LAYER: &[u8] = b"a layer in its transfer form";

#[derive(Debug, Clone)]
pub(crate) struct Cell {
    id: CellId,
    incarnation: Incarnation,
    socket: PathBuf,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

/// What a test may look at.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) running: BTreeMap<InstanceId, InstanceSpec>,
    pub(crate) packages: Vec<Bytes>,
    pub(crate) staged: Vec<StagingSpec>,
    pub(crate) tasks: Vec<TaskSpec>,
    /// Tasks that run on until they are cancelled.
    open: BTreeSet<TaskId>,
    /// What becomes of instances that are ordered from now on.
    pub(crate) fate: Fate,
    /// Instances that are not healthy yet.
    pub(crate) starting: BTreeMap<InstanceId, InstanceSpec>,
    /// Layers of instances that the server did not have.
    pub(crate) missing: Vec<Digest>,
    logs: Vec<LogLine>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Fate {
    #[default]
    Runs,
    /// It goes on starting.
    Waits,
    IsNeverHealthy,
}

pub(crate) type Frames = Framed<TokioIo<hyper::upgrade::Upgraded>, LengthDelimitedCodec>;

impl Cell {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self {
            id: CellId::random(),
            incarnation: Incarnation::random(),
            socket,
            seen: Arc::default(),
        }
    }

    pub(crate) async fn run(&self) {
        let mut frames = self.join(self.reports()).await;
        let mut beat = tokio::time::interval(model::protocol::cell::HEARTBEAT);
        loop {
            tokio::select! {
                frame = frames.next() => {
                    let Some(Ok(frame)) = frame else { return };
                    let order: Order = serde_json::from_slice(&frame).expect("an order");
                    say(&mut frames, &CellMessage::Ack { seq: order.seq }).await;
                    self.obey(&mut frames, order.body).await;
                }
                _ = beat.tick() => say(&mut frames, &CellMessage::Heartbeat { usage: vec![], free_disk: Megabytes(10_000) }).await,
            }
        }
    }

    /// Begins a session with a full report of these instances; what follows is the test's matter.
    pub(crate) async fn join(&self, instances: Vec<InstanceReport>) -> Frames {
        self.join_with(instances, vec![]).await
    }

    pub(crate) async fn join_with(
        &self,
        instances: Vec<InstanceReport>,
        tasks: Vec<TaskReport>,
    ) -> Frames {
        let request = Request::post(format!("/internal/cells/{}/session", self.id))
            .header(header::HOST, "server")
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, UPGRADE)
            .body(Body::empty())
            .expect("a request");
        let response = send(&self.socket, request).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert!(response.headers().contains_key("slipway-epoch"));
        let upgraded = hyper::upgrade::on(response).await.expect("upgrades");
        let codec = LengthDelimitedCodec::builder()
            .length_field_length(4)
            .max_frame_length(16 << 20)
            .new_codec();
        let mut frames = Framed::new(TokioIo::new(upgraded), codec);
        say(&mut frames, &CellMessage::Hello(self.hello())).await;
        let report = CellMessage::Report {
            instances,
            tasks,
            strangers: vec![],
        };
        say(&mut frames, &report).await;
        frames
    }

    /// What runs, as a full report has it.
    pub(crate) fn reports(&self) -> Vec<InstanceReport> {
        let seen = self.seen.lock().expect("no panic");
        let running = || InstanceState::Running {
            address: "10.9.0.2:8080".parse().expect("an address"),
        };
        seen.running
            .values()
            .map(|spec| report(spec, running()))
            .collect()
    }

    fn hello(&self) -> CellHello {
        CellHello {
            cell: self.id,
            name: "cell-1".into(),
            incarnation: self.incarnation,
            epoch_seen: 0,
            zone: "z1".into(),
            stack: Stack(STACK.into()),
            capacity: CellCapacity {
                memory: Megabytes(8192),
                disk: Megabytes(65536),
                containers: 100,
            },
            disk_limit: model::protocol::cell::DiskLimit::Hard,
            min_free_disk: Megabytes(0),
            isolation: Isolation::Container,
        }
    }

    pub(crate) async fn obey(&self, frames: &mut Frames, order: OrderBody) {
        match order {
            OrderBody::Run(spec) => {
                for layer in &spec.layers {
                    let blob = layer_blob(&layer.diff_id);
                    if self.blob(Method::GET, &blob, Body::empty()).await.0 != StatusCode::OK {
                        self.seen
                            .lock()
                            .expect("no panic")
                            .missing
                            .push(layer.diff_id);
                    }
                }
                let address = "10.9.0.2:8080".parse().expect("an address");
                say(
                    frames,
                    &CellMessage::Instance(report(&spec, InstanceState::Starting)),
                )
                .await;
                let fate = self.seen.lock().expect("no panic").fate;
                match fate {
                    Fate::Runs => {}
                    Fate::Waits => {
                        let mut seen = self.seen.lock().expect("no panic");
                        seen.starting.insert(spec.instance, *spec);
                        return;
                    }
                    Fate::IsNeverHealthy => {
                        let exit = Exit {
                            reason: ExitReason::NeverHealthy {
                                timeout_s: 60,
                                check: "port 8080".into(),
                                listening: vec![],
                            },
                            status: Some(143),
                            ran_ms: 5,
                            last_lines: vec![],
                        };
                        let exited = InstanceState::Exited { exit };
                        say(frames, &CellMessage::Instance(report(&spec, exited))).await;
                        return;
                    }
                }
                self.log(&spec, "up");
                say(
                    frames,
                    &CellMessage::Instance(report(&spec, InstanceState::Running { address })),
                )
                .await;
                self.seen
                    .lock()
                    .expect("no panic")
                    .running
                    .insert(spec.instance, *spec);
            }
            OrderBody::Stop { instance } => {
                let spec = {
                    let mut seen = self.seen.lock().expect("no panic");
                    let starting = seen.starting.remove(&instance);
                    starting.or_else(|| seen.running.remove(&instance))
                };
                if let Some(spec) = spec {
                    let exit = Exit {
                        reason: ExitReason::Stopped,
                        status: Some(143),
                        ran_ms: 5,
                        last_lines: vec![],
                    };
                    say(
                        frames,
                        &CellMessage::Instance(report(&spec, InstanceState::Exited { exit })),
                    )
                    .await;
                }
            }
            OrderBody::Stage(spec) => {
                let outcome = TaskOutcome::Staged {
                    image: self.build(&spec).await,
                };
                let report = TaskReport {
                    task: spec.task,
                    state: TaskState::Done { outcome },
                };
                say(frames, &CellMessage::Task(report)).await;
            }
            OrderBody::OpenStream {
                stream,
                request: StreamRequest::Logs(query),
            } => {
                let mut text = Vec::new();
                let logs = self.seen.lock().expect("no panic").logs.clone();
                for line in logs
                    .iter()
                    .filter(|line| line.app == query.app && line.time_ns >= query.start_ns)
                {
                    serde_json::to_writer(&mut text, line).expect("writes");
                    text.push(b'\n');
                }
                let request = Request::post(format!("/internal/streams/{stream}"))
                    .header(header::HOST, "server");
                let response = send(
                    &self.socket,
                    request.body(Body::from(text)).expect("a request"),
                )
                .await;
                assert!(response.status().is_success(), "{response:?}");
            }
            OrderBody::RunTask(spec) => self.run_task(frames, *spec).await,
            OrderBody::CancelTask { task } => {
                let had = self.seen.lock().expect("no panic").open.remove(&task);
                if had {
                    let outcome = TaskOutcome::Cancelled;
                    say_task(frames, task, TaskState::Done { outcome }).await;
                }
            }
            OrderBody::Reap { .. }
            | OrderBody::ForgetInstance { .. }
            | OrderBody::ForgetTask { .. } => {}
        }
    }

    /// A command `exit N` ends with that status; every other one runs on.
    async fn run_task(&self, frames: &mut Frames, spec: TaskSpec) {
        say_task(frames, spec.task, TaskState::Started).await;
        let status = spec.command.strip_prefix("exit ");
        let status = status.map(|status| status.parse().expect("a number"));
        {
            let mut seen = self.seen.lock().expect("no panic");
            let time_ns = 10_000 + i64::try_from(seen.logs.len()).expect("few");
            seen.logs.push(LogLine {
                app: spec.app,
                source: LogSource::Task(spec.name.clone()),
                index: spec.sequence,
                time_ns,
                stream: OutputStream::Out,
                bytes: b"working".to_vec(),
            });
            seen.tasks.push(spec.clone());
            if status.is_none() {
                seen.open.insert(spec.task);
            }
        }
        if let Some(status) = status {
            say_task(frames, spec.task, ran(status)).await;
        }
    }

    /// Fetches the package and stores a layer, as a builder would.
    async fn build(&self, spec: &StagingSpec) -> Image {
        let package = self
            .blob(Method::GET, &package_blob(&spec.package), Body::empty())
            .await;
        assert_eq!(package.0, StatusCode::OK);
        assert_eq!(package.1.len() as u64, spec.package_size);
        let diff_id: Digest = format!("sha256:{}", "0a".repeat(32))
            .parse()
            .expect("a digest");
        // One layer that all builds share, and one of its own, which the server lacks unless the source is the same.
        for digest in [diff_id, spec.package] {
            let blob = layer_blob(&digest);
            if self.blob(Method::HEAD, &blob, Body::empty()).await.0 == StatusCode::NOT_FOUND {
                let stored = self.blob(Method::PUT, &blob, Body::from(LAYER)).await;
                assert_eq!(stored.0, StatusCode::CREATED);
            }
        }
        let mut seen = self.seen.lock().expect("no panic");
        seen.packages.push(package.1);
        seen.staged.push(spec.clone());
        let line = |time_ns, text: &str| LogLine {
            app: spec.app,
            source: LogSource::Staging,
            index: 0,
            time_ns,
            stream: OutputStream::Out,
            bytes: text.as_bytes().to_vec(),
        };
        seen.logs
            .extend([line(1_000, "detected java"), line(2_000, "done")]);
        Image {
            stack: Stack(STACK.into()),
            layers: [
                (LayerKind::Dependencies, diff_id),
                (LayerKind::App, spec.package),
            ]
            .map(|(kind, diff_id)| Layer {
                kind,
                diff_id,
                size: 100,
                compressed_size: LAYER.len() as u64,
            })
            .into(),
            process_types: BTreeMap::from([("web".to_owned(), "java -jar app.jar".to_owned())]),
            buildpacks: vec![UsedBuildpack {
                name: "java".into(),
                version: "1".into(),
                detected: "a ready jar".into(),
            }],
        }
    }

    async fn blob(&self, method: Method, name: &str, body: Body) -> (StatusCode, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/internal/blobs/{name}"))
            .header(header::HOST, "server");
        let response = send(&self.socket, request.body(body).expect("a request")).await;
        (
            response.status(),
            response
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes(),
        )
    }

    fn log(&self, spec: &InstanceSpec, text: &str) {
        let mut seen = self.seen.lock().expect("no panic");
        let time_ns = 10_000 + i64::try_from(seen.logs.len()).expect("few");
        let source = LogSource::App(spec.process_type.clone());
        let bytes = text.as_bytes().to_vec();
        seen.logs.push(LogLine {
            app: spec.app,
            source,
            index: spec.index,
            time_ns,
            stream: OutputStream::Err,
            bytes,
        });
    }
}

fn report(spec: &InstanceSpec, state: InstanceState) -> InstanceReport {
    InstanceReport {
        instance: spec.instance,
        app: spec.app,
        process: spec.process,
        version: spec.version,
        index: spec.index,
        state,
        since_us: store::now_us(),
    }
}

/// A command that has ended by itself.
pub(crate) fn ran(status: i32) -> TaskState {
    let exit = Exit {
        reason: ExitReason::Exited,
        status: Some(status),
        ran_ms: 5,
        last_lines: vec![],
    };
    TaskState::Done {
        outcome: TaskOutcome::Ran { exit },
    }
}

pub(crate) async fn say_task(frames: &mut Frames, task: TaskId, state: TaskState) {
    say(frames, &CellMessage::Task(TaskReport { task, state })).await;
}

pub(crate) async fn next_order(frames: &mut Frames) -> OrderBody {
    next_numbered(frames).await.body
}

/// For who wants to answer it.
pub(crate) async fn next_numbered(frames: &mut Frames) -> Order {
    let frame = frames.next().await.expect("a frame").expect("no error");
    serde_json::from_slice(&frame).expect("an order")
}

pub(crate) async fn refuse(frames: &mut Frames, seq: u64, message: &str) {
    let message = message.to_owned();
    say(frames, &CellMessage::Refused { seq, message }).await;
}

async fn say(frames: &mut Frames, message: &CellMessage) {
    let json = serde_json::to_vec(message).expect("serialises");
    // The server may have ended already.
    let _ = frames.send(Bytes::from(json)).await;
}

/// One request on a connection of its own, which lives as long as the answer.
pub(crate) async fn send(socket: &std::path::Path, request: Request<Body>) -> Response<Incoming> {
    let stream = UnixStream::connect(socket).await.expect("connects");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("shakes hands");
    let connection = tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.expect("an answer");
    drop(connection);
    response
}
