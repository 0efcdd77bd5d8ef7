//! The router: every request of the platform enters here and leaves for an instance or for the control plane.
//!
//! One front port serves both. A request whose host is a control host or an IP literal goes unchanged to the API
//! server's unix socket; any other is matched against the route table and forwarded to one of the route's instances.
//! The table comes from the server as a snapshot and deltas ([`model::protocol::router`]), and its newest state lies on
//! disk, so a router answers for apps without a server, even after a restart. Entries end when the server says so or
//! stand aside for some seconds after a failed dial; they never end by age.
//!
//! The router never buffers a body, never sends a request again once a byte of it may have reached an instance (but
//! idempotent requests without body on a kept-alive connection that turned out to be closed), and never uses the connection of
//! one instance for another that got the same address.
//!
//! Start reading at `proxy.rs`: the phases of a request, in order, in one function. `proxy/plain.rs` is a shorter way for
//! requests to which most of these have nothing to say. `front.rs` accepts and drains,
//! `table.rs` looks up, `upstream.rs` keeps connections, `sync.rs` follows the server.

mod config;
mod front;
mod liveness;
mod proxy;
mod request_id;
mod sync;
mod table;
mod table_file;
mod upstream;

#[cfg(feature = "fuzz")]
pub mod fuzz;

pub use config::{Bounds, Config, InvalidNetwork, Network};
pub use front::run;
