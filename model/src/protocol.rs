//! What servers, cells and routers say to each other. Every message is JSON with unknown fields ignored, so that
//! neighbours of adjacent versions understand each other.

pub mod cell;
pub mod lifecycle;
pub mod router;
