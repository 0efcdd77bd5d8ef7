//! The durable shapes. Times are microseconds since the Unix epoch.

use std::collections::BTreeMap;

use model::deployment::Strategy;
use model::digest::Digest;
use model::droplet::{Image, Layer, Stack};
use model::health::HealthCheck;
use model::ids::{
    AppId, BindingId, BuildId, CellId, DeploymentId, DestinationId, DomainId, DropletId, EventId,
    Incarnation, InstanceId, JobId, OrgId, PackageId, ProcessId, RevisionId, RouteId,
    ServiceInstanceId, SpaceId, TaskId, UserId, VersionId,
};
use model::instance::Exit;
use model::limits::{Limits, Megabytes};
use model::secret::{Env, Secret};
use model::task::StagingFailure;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub username: String,
    pub password_hash: Secret,
    pub created_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Org {
    pub id: OrgId,
    pub name: String,
    pub created_us: i64,
    pub updated_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    pub id: SpaceId,
    pub org: OrgId,
    pub name: String,
    pub created_us: i64,
    pub updated_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub id: DomainId,
    pub name: String,
    pub created_us: i64,
}

/// Variables that every app gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvironmentGroup {
    /// To its instances.
    Running,
    /// To its builds.
    Staging,
}

impl EnvironmentGroup {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Staging => "staging",
        }
    }
}

/// Labels and annotations, as people set them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metadata {
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppState {
    Stopped,
    Started,
}

impl AppState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Started => "STARTED",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub id: AppId,
    pub space: SpaceId,
    pub name: String,
    pub state: AppState,
    /// Named buildpacks in order; empty means detection.
    pub buildpacks: Vec<String>,
    pub stack: Option<String>,
    pub current_droplet: Option<DropletId>,
    /// The user's own variables. Edited freely; they reach instances at the next start.
    pub env: Env,
    pub metadata: Metadata,
    pub created_us: i64,
    pub updated_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub id: ProcessId,
    pub app: AppId,
    pub process_type: String,
    /// The user's own command; without one the droplet's applies.
    pub command: Option<String>,
    pub instances: u32,
    pub memory: Megabytes,
    pub disk: Megabytes,
    /// Output in bytes per second beyond which lines are dropped; 0 drops all.
    pub log_rate: Option<u64>,
    pub health: HealthCheck,
    pub created_us: i64,
    pub updated_us: i64,
}

/// What instances of a process are made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LrpSpec {
    pub app_name: String,
    pub process_type: String,
    pub stack: Stack,
    pub layers: Vec<Layer>,
    pub command: String,
    pub env: Env,
    pub limits: Limits,
    #[serde(default)]
    pub log_rate: Option<u64>,
    pub health: HealthCheck,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredLrp {
    pub process: ProcessId,
    pub app: AppId,
    pub version: VersionId,
    /// The release number that this is.
    pub revision: u32,
    pub instances: u32,
    /// Instances of other versions make room for it one healthy instance after the other, also without a deployment.
    #[serde(default)]
    pub rolls: bool,
    pub spec: LrpSpec,
    pub updated_us: i64,
}

/// What is desired of an app in short: enough to see whether it has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    pub lrps: Vec<LrpOutline>,
    /// The deployment under way, and when it changed last.
    pub deployment: Option<(DeploymentId, i64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LrpOutline {
    pub process: ProcessId,
    pub version: VersionId,
    pub instances: u32,
    pub rolls: bool,
}

/// How often an index has crashed in a row, and its last crash.
#[derive(Debug, Clone, PartialEq)]
pub struct CrashCount {
    pub process: ProcessId,
    pub version: VersionId,
    pub index: u32,
    /// The instance that crashed last.
    pub instance: InstanceId,
    pub count: u32,
    /// When it ended, as its cell says.
    pub at_us: i64,
    pub exit: Exit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub id: PackageId,
    pub app: AppId,
    pub state: PackageState,
    pub created_us: i64,
    pub updated_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageState {
    AwaitingUpload,
    Ready { digest: Digest, size: u64 },
    Failed { error: String },
}

/// A file that some package of the space holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// 40 lower-case hex digits.
    pub sha1: String,
    pub size: u64,
    pub package: Digest,
    /// Its path inside that package.
    pub path: String,
    /// Unix permission bits.
    pub mode: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Build {
    pub id: BuildId,
    pub app: AppId,
    pub package: PackageId,
    pub state: BuildState,
    pub buildpacks: Vec<String>,
    pub task: TaskId,
    pub limits: Limits,
    /// Where its task was sent. Committed before the order leaves.
    pub placed: Option<Placement>,
    pub created_by: String,
    pub created_us: i64,
    pub updated_us: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum BuildState {
    Staging,
    Staged { droplet: DropletId },
    Failed { failure: StagingFailure },
}

/// A one-off task of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub id: TaskId,
    pub app: AppId,
    /// Counted from 1 within its app.
    pub sequence: u32,
    pub name: String,
    pub command: Secret,
    pub state: TaskState,
    pub droplet: DropletId,
    /// Of its droplet; only cells that offer it can run the task.
    pub stack: Stack,
    pub limits: Limits,
    pub metadata: Metadata,
    /// Where it was sent. Committed before the order leaves.
    pub placed: Option<Placement>,
    pub created_by: String,
    pub created_us: i64,
    pub updated_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Waits for a cell, or for its container.
    Pending,
    /// Its cell has said that the command has begun.
    Running,
    /// Its cell was asked to end it.
    Canceling,
    Succeeded,
    Failed {
        reason: String,
    },
}

impl TaskState {
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Canceling => "CANCELING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed { .. } => "FAILED",
        }
    }

    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed { .. })
    }
}

/// What a task's container is made from. Kept until the task has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPlan {
    pub app_name: String,
    pub layers: Vec<Layer>,
    pub env: Env,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    pub cell: CellId,
    pub incarnation: Incarnation,
    pub epoch: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Droplet {
    pub id: DropletId,
    pub app: AppId,
    pub package: PackageId,
    pub image: Image,
    pub created_us: i64,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub id: RevisionId,
    pub app: AppId,
    pub version: u32,
    pub droplet: DropletId,
    pub description: String,
    pub snapshot: Snapshot,
    pub created_us: i64,
}

/// A change of release that rolls: new instances are healthy before old ones stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    pub id: DeploymentId,
    pub app: AppId,
    pub state: DeploymentState,
    pub strategy: Strategy,
    /// How many instances at a time are replaced, at least 1.
    pub max_in_flight: u32,
    pub droplet: DropletId,
    pub previous_droplet: Option<DropletId>,
    /// The release that is being deployed.
    pub revision: u32,
    /// The release that serves until then, and again if it fails.
    pub previous_revision: u32,
    pub previous: Vec<DesiredLrp>,
    /// Where it brings a process new figures.
    pub resized: Option<Resized>,
    /// When it fails if it has not ended.
    pub deadline_us: i64,
    pub created_us: i64,
    pub updated_us: i64,
}

/// How many instances of a process there are, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    pub instances: u32,
    pub memory: Megabytes,
    pub disk: Megabytes,
    pub log_rate: Option<u64>,
}

/// New figures of a process that come with a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resized {
    pub process: ProcessId,
    /// They come back if the deployment fails.
    pub before: Figures,
    pub after: Figures,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeploymentState {
    Active,
    Deployed,
    /// Somebody cancelled it, or stopped the app.
    Canceled,
    /// A later one took its place.
    Superseded,
    /// New instances did not become healthy; the old release stays.
    Failed {
        error: String,
    },
}

/// What a release consists of, process by process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub droplet: DropletId,
    pub processes: BTreeMap<String, LrpSpec>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub id: RouteId,
    pub space: SpaceId,
    pub domain: DomainId,
    pub domain_name: String,
    /// Empty for the bare domain.
    pub host: String,
    /// Empty, or `/` and more.
    pub path: String,
    pub destinations: Vec<Destination>,
    pub created_us: i64,
    pub updated_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub id: DestinationId,
    pub app: AppId,
    pub process_type: String,
}

/// A user-provided service instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceInstance {
    pub id: ServiceInstanceId,
    pub space: SpaceId,
    pub name: String,
    /// A JSON object.
    pub credentials: Secret<serde_json::Map<String, serde_json::Value>>,
    pub tags: Vec<String>,
    pub syslog_drain_url: Option<Secret>,
    pub route_service_url: Option<String>,
    pub metadata: Metadata,
    pub created_us: i64,
    pub updated_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub id: BindingId,
    pub app: AppId,
    pub service_instance: ServiceInstanceId,
    pub name: Option<String>,
    pub created_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: JobId,
    /// For example `space.apply_manifest`.
    pub operation: String,
    pub state: JobState,
    pub warnings: Vec<String>,
    pub created_us: i64,
    pub updated_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    Processing,
    Complete,
    Failed { errors: Vec<JobError> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    pub code: u32,
    pub title: String,
    pub detail: String,
}

/// An audit event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: EventId,
    pub event_type: String,
    pub actor: String,
    pub actor_name: String,
    pub target: String,
    pub target_type: String,
    pub target_name: String,
    pub space: Option<SpaceId>,
    pub org: Option<OrgId>,
    pub data: serde_json::Value,
    pub created_us: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub id: CellId,
    pub name: String,
    pub incarnation: Incarnation,
    pub lost: bool,
    pub updated_us: i64,
}

/// A part of a list, and how long the whole is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub total: u64,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Counted from 1.
    pub page: u32,
    /// 1 to 5,000.
    pub per_page: u32,
}

impl PageRequest {
    pub const ALL: Self = Self {
        page: 1,
        per_page: 5000,
    };

    #[must_use]
    pub const fn limit(self) -> i64 {
        self.per_page as i64
    }

    #[must_use]
    pub const fn offset(self) -> i64 {
        (self.page.saturating_sub(1) as i64) * self.per_page as i64
    }
}
