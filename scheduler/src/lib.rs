//! Choices: which cell runs what, what is started, stopped, moved or started again.
//!
//! A pure state machine. Events go in through [`Scheduler::apply`], decisions come out of [`Scheduler::plan`], and
//! [`Scheduler::next_wake`] says when time alone would change the answer. There is no I/O, no clock, no thread, no
//! randomness and no hash-map order in it: the same events give the same plans, byte for byte. `plan` books its own
//! placements as pending and never waits for their success.
//!
//! The rules are Diego's (crash back-off, spread over zones, index 0 first), but work is indexed by what it waits for,
//! so that a plan costs what has changed and not what exists.
