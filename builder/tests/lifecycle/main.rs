//! The lifecycle from outside: real builds of real sources, and real starts.

mod java;
mod launch;
mod support;
