//! The wire as clients use it: the API in process, over a real store, with a simulated cell behind the internal door.

mod canary;
mod cell;
mod client;
mod collection;
mod conventions;
mod drain;
mod internal;
mod login;
mod push;
mod replay;
mod rollout;
mod services;
mod sessions;
mod tasks;
mod uploads;
mod world;
