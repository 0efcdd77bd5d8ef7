//! The output files of a container, written by its shim (or the process engine) and read by the agent.
//!
//! `DIR/logs/current` holds one record a line: `<time> <stream> <bytes>\n`, where time is nanoseconds since the Unix epoch
//! in decimal, strictly increasing; stream is `O` or `E`; bytes are the app's own without the line feed, at most
//! [`model::log::LogLine::MAX_BYTES`]. When `current` would exceed half of the byte budget it is renamed to `previous`,
//! replacing an older one, and a new `current` begins.
