//! The agent against a small server that speaks the cell protocol, on a fake engine and a paused clock.

#[path = "agent/builds.rs"]
mod builds;
#[path = "agent/instances.rs"]
mod instances;
#[path = "agent/restarts.rs"]
mod restarts;
#[path = "agent/world.rs"]
mod world;
