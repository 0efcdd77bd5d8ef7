//! The agent against a small server that speaks the cell protocol, on a fake engine and a paused clock.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "agent/builds.rs"]
mod builds;
#[path = "agent/commands.rs"]
mod commands;
#[path = "agent/instances.rs"]
mod instances;
#[path = "agent/restarts.rs"]
mod restarts;
#[path = "agent/server.rs"]
mod server;
#[path = "agent/session.rs"]
mod session;
#[path = "agent/world.rs"]
mod world;
