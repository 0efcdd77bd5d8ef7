//! The agent of one cell: it takes orders from the server, runs instances, builds and one-off tasks on an engine, and reports.
//!
//! It never decides *what* should run, and it never needs the server to keep running what runs: with the server gone it
//! goes on supervising, and with the agent itself gone the containers live on under their shims until the next agent
//! adopts them. It calls out only; nobody calls in.
//!
//! Start with [`Agent::run`], then `session` (the conversation), `instance` (the life of one instance), `staging` (the
//! life of one build), `command` (the life of one one-off task). `ledger` is what survives a restart, `layers` and `logs` are the stores on disk.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")
)]

mod agent;
mod capacity;
mod cell;
mod clock;
mod command;
mod config;
mod durable;
mod guard;
mod instance;
mod launch;
mod layers;
mod ledger;
mod logs;
mod orders;
mod removal;
mod reports;
mod room;
mod server;
mod session;
mod stack;
mod staging;
mod strangers;
mod task;
mod watch;

#[cfg(feature = "fuzz")]
pub mod fuzz;

pub use agent::{Agent, make_room};
pub use config::{Budgets, Config, HostSettings};
