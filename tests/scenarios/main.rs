//! Scenarios of the whole platform, each named after the promise that it keeps. They run the real binary: `slipway up`
//! with containers (so as root), the client, and apps that are written here.

mod harness;

mod bad_input;
mod bounds;
mod canary;
mod deploy;
mod explained;
mod life;
mod limits;
mod release;
mod services;
mod small_host;
mod survive;
mod tasks;
