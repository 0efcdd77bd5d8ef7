//! The use cases of Slipway, and the loops that make them true.
//!
//! A wish comes in as a method of [`Control`]: push, start, scale, bind. It is written to the store in one transaction,
//! and the [`fleet`] is told to look again; nothing else happens in the call. The fleet's driver reads the desired
//! state, asks the scheduler for a plan and sends orders to cells; what cells report flows back into the scheduler, the
//! route feed and the stats. A restart, a crash and a lost message take the same path.
//!
//! Nothing here knows HTTP or axum. Doors (`api/http`, later git and others) call this crate, never each other.

pub mod archive;
pub mod fleet;

mod apps;
mod blobs;
mod builds;
mod collector;
mod control;
mod deployments;
mod disk;
mod droplet_archive;
mod env;
mod environment_groups;
mod error;
mod events;
mod failures;
mod identity;
mod jobs;
mod logs;
mod manifests;
mod orgs;
mod packages;
mod processes;
mod route_feed;
mod routes;
mod scratch;
mod services;
mod settings;
mod start;
mod stats;
mod tasks;

pub use apps::{AppChange, AppEnv, NewApp};
pub use builds::BuildRequest;
pub use collector::Collection;
pub use control::Control;
pub use deployments::DeploymentWish;
pub use disk::Room;
pub use error::Error;
pub use failures::{exit_text, failure_text};
pub use identity::{Actor, LoginError};
pub use logs::LogSelection;
pub use manifests::ManifestDiff;
pub use orgs::SpaceFilter;
pub use packages::ResourceRef;
pub use processes::{ProcessChange, ProcessFilter, Scale, log_rate_number};
pub use scratch::Scratch;
pub use services::NewServiceInstance;
pub use settings::{Bounds, Config, Settings};
pub use start::How;
pub use stats::{CellInfo, Counts, IndexState, IndexStats};
pub use store::collect::AppUsage;
pub use store::{
    AppFilter, BindingFilter, DeploymentFilter, DropletFilter, EventFilter, LabelNeed, NewRoute,
    PackageFilter, RouteFilter, ServiceInstanceFilter, ServiceInstanceUpdate, TaskFilter,
    TaskOrder, records,
};
pub use tasks::TaskRequest;

pub type Result<T> = std::result::Result<T, Error>;
