//! The wire: Cloud Foundry's v3 API, UAA-shaped tokens and log-cache's read API, spoken on one origin.
//!
//! A request comes in through the router and is handled in four breaths: extract ([`request`], [`query`], [`body`]),
//! authorize (the token check in front of every route that is not marked open), act (one call of `api-control`), present
//! ([`present`]). All routes stand in one list, [`routes`]. This crate decides nothing and keeps nothing: what an app is,
//! who may do what and what happens next is `api-control`'s. It never shows a cause of an internal error, and never
//! answers a host it does not know with links to that host.
//!
//! Three doors, three routers: [`api`] for people, [`internal`] for cells and routers on the server's own socket,
//! [`admin`] for metrics and health. [`serve`] runs one of them until it is told to end.

mod admin;
mod answer;
mod body;
mod completion;
mod context;
mod error;
mod form;
mod internal;
mod labels;
mod log_cache;
mod present;
mod query;
mod request;
mod root;
mod routes;
mod serve;
mod token;
mod uaa;
mod upload;
mod urls;
mod v3;

#[cfg(feature = "fuzz")]
pub mod fuzz;

pub use admin::admin;
pub use internal::internal;
pub use routes::api;
pub use serve::{DRAIN, serve};
pub use token::KeyError;
