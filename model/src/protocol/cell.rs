//! The conversation of a cell with its server.
//!
//! The cell calls out: it opens `POST /internal/cells/{cell}/session` on the server's internal socket with
//! `Upgrade: slipway-cell/1`. After `101` both sides send frames: a big-endian `u32` length (at most
//! [`MAX_FRAME_BYTES`]) and that many bytes of JSON. The cell's first frame is [`CellMessage::Hello`], the second
//! [`CellMessage::Report`]; from then on it reports changes as they happen and a heartbeat every [`HEARTBEAT`]. A
//! server that heard nothing for [`PRESENCE_TTL`] holds the cell for lost.
//!
//! Bulk bytes never travel here. A cell fetches blobs with `GET /internal/blobs/{name}` and stores layers with
//! `PUT /internal/blobs/{name}`, names as in [`layer_blob`] and [`package_blob`]. When the server wants a stream, it sends
//! [`OrderBody::OpenStream`] and the cell answers with `POST /internal/streams/{stream}`, whose body is the stream.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::droplet::{Layer, Stack};
use crate::health::HealthCheck;
use crate::ids::{
    AppId, BuildId, CellId, Incarnation, InstanceId, ProcessId, StreamId, TaskId, VersionId,
};
use crate::instance::InstanceReport;
use crate::limits::{Limits, Megabytes};
use crate::secret::Env;
use crate::task::TaskReport;

pub const UPGRADE: &str = "slipway-cell/1";
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// Diego's cell presence TTL.
pub const PRESENCE_TTL: Duration = Duration::from_secs(15);

/// The blob name of a layer in its transfer form, a zstd-compressed tar.
#[must_use]
pub fn layer_blob(diff_id: &Digest) -> String {
    format!("layers/{}.tar.zst", diff_id.hex())
}

/// The blob name of a package, a zip file.
#[must_use]
pub fn package_blob(digest: &Digest) -> String {
    format!("packages/{}.zip", digest.hex())
}

/// From server to cell. An order is idempotent: the ids in it were made by the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The leader's epoch. A cell that has seen a higher one refuses the order.
    pub epoch: u64,
    /// Counts up from 1 within a session; the cell answers with [`CellMessage::Ack`] once its ledger holds the order.
    pub seq: u64,
    #[serde(flatten)]
    pub body: OrderBody,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum OrderBody {
    Run(Box<InstanceSpec>),
    /// SIGTERM, the grace time of the spec, SIGKILL. An unknown instance counts as stopped.
    Stop {
        instance: InstanceId,
    },
    /// Removes a container of [`CellMessage::Report`]'s `strangers`. One that is not among them is left alone.
    Reap {
        container: String,
    },
    /// The server has taken note of the exit: the cell may drop the instance from its reports and ledger.
    ForgetInstance {
        instance: InstanceId,
    },
    Stage(Box<StagingSpec>),
    RunTask(Box<TaskSpec>),
    /// Ends a build or a one-off task. An unknown one counts as ended.
    CancelTask {
        task: TaskId,
    },
    /// The server has stored the task's result.
    ForgetTask {
        task: TaskId,
    },
    OpenStream {
        stream: StreamId,
        request: StreamRequest,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "stream_of", rename_all = "snake_case")]
pub enum StreamRequest {
    /// NDJSON of [`crate::log::LogLine`]. Ends after what is there; log-cache clients poll.
    Logs(LogQuery),
}

/// Selects log lines of one app on one cell, as log-cache's read call does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogQuery {
    pub app: AppId,
    /// Inclusive lower bound, ns since the Unix epoch; may be negative.
    pub start_ns: i64,
    /// Exclusive upper bound.
    pub end_ns: Option<i64>,
    pub limit: u32,
    /// Newest first, and the newest `limit` lines; otherwise oldest first and the oldest `limit`.
    pub descending: bool,
}

/// Everything a cell needs to run one instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InstanceSpec {
    pub instance: InstanceId,
    pub app: AppId,
    pub app_name: String,
    pub process: ProcessId,
    pub process_type: String,
    pub version: VersionId,
    pub index: u32,
    pub stack: Stack,
    pub layers: Vec<Layer>,
    /// Run by `bash -c` after the profile scripts.
    pub command: String,
    /// Complete but for what only the cell knows: `PORT`, `CF_INSTANCE_*`, and the parts of `VCAP_APPLICATION` with them.
    pub env: Env,
    pub limits: Limits,
    pub health: HealthCheck,
    /// Output in bytes per second beyond which lines are dropped; 0 drops all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_rate: Option<u64>,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
}

/// Everything a cell needs to run one command of an app, once, beside its instances.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskSpec {
    pub task: TaskId,
    pub app: AppId,
    pub app_name: String,
    /// Names its log lines' source; several tasks of an app may have the same.
    pub name: String,
    /// The task's number within its app; its log lines carry it as their index.
    pub sequence: u32,
    pub stack: Stack,
    pub layers: Vec<Layer>,
    /// Run by `bash -c` after the profile scripts.
    pub command: String,
    /// Complete but for what only the cell knows: `CF_INSTANCE_*`. It has no port.
    pub env: Env,
    pub limits: Limits,
    /// From SIGTERM to SIGKILL where it is cancelled.
    pub grace: Duration,
}

/// Everything a cell needs to build one package.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StagingSpec {
    pub task: TaskId,
    pub build: BuildId,
    pub app: AppId,
    pub app_name: String,
    pub package: Digest,
    pub package_size: u64,
    /// Buildpack names in order; empty means all built-in ones, by detection.
    pub buildpacks: Vec<String>,
    pub env: Env,
    pub limits: Limits,
    /// Cloud Foundry's default is 900 s.
    pub timeout: Duration,
}

/// From cell to server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum CellMessage {
    Hello(CellHello),
    /// All instances and tasks the cell has. What is not in it does not exist there.
    Report {
        instances: Vec<InstanceReport>,
        tasks: Vec<TaskReport>,
        /// Containers that are there and of which the cell's ledger knows nothing, by name. They go only on a
        /// [`OrderBody::Reap`]: a cell that lost its memory does not decide by itself what else it had forgotten.
        #[serde(default)]
        strangers: Vec<String>,
    },
    Instance(InstanceReport),
    Task(TaskReport),
    /// The order with this number lies in the ledger.
    Ack {
        seq: u64,
    },
    /// The order with this number was refused; nothing was done.
    Refused {
        seq: u64,
        message: String,
    },
    /// Sent every [`HEARTBEAT`], with the newest usage figures.
    Heartbeat {
        usage: Vec<InstanceUsage>,
        free_disk: Megabytes,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellHello {
    pub cell: CellId,
    pub name: String,
    pub incarnation: Incarnation,
    /// The highest epoch that the cell has obeyed.
    pub epoch_seen: u64,
    pub zone: String,
    pub stack: Stack,
    pub capacity: CellCapacity,
    pub isolation: Isolation,
    #[serde(default)]
    pub disk_limit: DiskLimit,
    /// With less than this free on its disk, the cell begins nothing new.
    #[serde(default)]
    pub min_free_disk: Megabytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellCapacity {
    pub memory: Megabytes,
    pub disk: Megabytes,
    pub containers: u32,
}

/// How apart instances are kept from each other and from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Namespaces, cgroups, seccomp, an own network and user.
    Container,
    /// A plain process of the user with rlimits; for a developer's own code only.
    Process,
}

impl Isolation {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Process => "process",
        }
    }
}

/// How a cell keeps a container to its disk limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskLimit {
    /// Each has a file system of that size: its writes fail at the limit.
    Hard,
    /// Usage is measured every few seconds, and who exceeds the limit is ended.
    #[default]
    Sampled,
}

impl DiskLimit {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Sampled => "sampled",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceUsage {
    pub instance: InstanceId,
    /// Share of one core over the last interval: 1.0 is one core fully used.
    pub cpu: f64,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    /// Bytes of log output per second over the last interval.
    pub log_rate: u64,
}
