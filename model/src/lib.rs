//! The nouns of Slipway: what things are called, which states they have and how they move between them.
//!
//! Nothing here does I/O, and nothing here knows tokio, SQL, HTTP or a container engine, so the vocabulary can be
//! read and tested without a world. [`protocol`] holds what servers, cells and routers say to each other.
//! Start with [`instance`], the life of one copy of an app, then [`protocol::cell`].

pub mod deployment;
pub mod digest;
pub mod droplet;
pub mod health;
pub mod ids;
pub mod instance;
pub mod limits;
pub mod log;
pub mod manifest;
pub mod protocol;
pub mod route;
pub mod secret;
pub mod service;
pub mod task;
