//! The router with real sockets: apps, a server and clients on loopback, nothing faked inside.

mod app;
mod client;
mod drain;
mod headers;
mod hostile;
mod retry;
mod routing;
mod server;
mod streaming;
mod table_sync;
mod world;
