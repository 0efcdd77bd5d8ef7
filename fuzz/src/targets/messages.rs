//! What roles say to each other, line by line.

use model::protocol::cell::{CellMessage, Order, StreamRequest};
use model::protocol::lifecycle::BuildSpec;
use model::protocol::router::RouteMessage;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn run(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        survives::<CellMessage>(line);
        survives::<Order>(line);
        survives::<StreamRequest>(line);
        survives::<RouteMessage>(line);
        survives::<BuildSpec>(line);
    }
}

/// What can be read is written and read back the same.
fn survives<T: Serialize + DeserializeOwned>(line: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(line) {
        let written = serde_json::to_vec(&message).expect("it was JSON");
        let again: T = serde_json::from_slice(&written).expect("ours is readable");
        let again = serde_json::to_vec(&again).expect("it was JSON");
        assert!(again == written, "{}", String::from_utf8_lossy(&written));
    }
}
