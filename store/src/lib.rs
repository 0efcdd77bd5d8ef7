//! Truth: what people asked for, kept in SQL, and the bytes that belong to it, kept as blobs.
//!
//! The one crate that knows SQL. What runs is not here: that belongs to the cells, which report it. Every query is
//! plain `$N` SQL in the file of its noun; constraints live in the schema and come back as [`Error::Conflict`] with the
//! constraint's name. Secrets (env, credentials, snapshots) are sealed before they touch the disk, see [`seal`].
//! Start with [`records`] for the shapes and [`Store`] for the verbs.

pub mod blobs;
pub mod collect;
pub mod disk;
pub mod records;
pub mod seal;

mod apps;
mod builds;
mod cells;
mod crashes;
mod deployments;
mod droplets;
mod environment_groups;
mod error;
mod events;
#[cfg(test)]
mod fixtures;
mod jobs;
mod lrps;
mod open;
mod orgs;
mod packages;
mod paging;
mod processes;
mod revisions;
mod routes;
mod rows;
mod services;
mod tasks;
mod users;
mod vacuum;

pub use apps::{AppFilter, AppUpdate, LabelNeed};
pub use blobs::Blobs;
pub use builds::Staged;
pub use deployments::{DeploymentFilter, NewDeployment};
pub use droplets::DropletFilter;
pub use error::{Error, Result};
pub use events::EventFilter;
pub use open::{Store, now_us};
pub use packages::PackageFilter;
pub use processes::ProcessUpdate;
pub use routes::{NewRoute, RouteFilter};
pub use services::{BindingFilter, ServiceInstanceFilter, ServiceInstanceUpdate};
pub use tasks::{FinishedTask, NewTask, TaskFilter, TaskOrder, TaskTeller};
