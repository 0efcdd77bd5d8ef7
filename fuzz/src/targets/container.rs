//! What a shim reads: its container's configuration, and frames from the engine.

use cells_shim::config::Config;
use cells_shim::protocol::{read_frame, write_frame};

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(config) = serde_json::from_slice::<Config>(bytes) {
        let written = serde_json::to_vec(&config).expect("it was JSON");
        let again: Config = serde_json::from_slice(&written).expect("ours is readable");
        assert_eq!(serde_json::to_vec(&again).expect("it was JSON"), written);
    }
    let mut rest = bytes;
    while let Ok(frame) = read_frame(&mut rest) {
        assert!(frame.len() < bytes.len());
        let mut wire = Vec::new();
        write_frame(&mut wire, &frame).expect("what was read can be written");
        assert_eq!(
            read_frame(wire.as_slice()).expect("ours is readable"),
            frame
        );
    }
}
