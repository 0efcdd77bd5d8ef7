//! What the scheduler promises: rules by table, laws by random histories, and whole worlds with faults.

mod caution;
mod crashes;
mod laws;
mod placement;
mod rules;
mod simulation;
mod updates;
mod world;
