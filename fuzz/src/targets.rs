pub(crate) mod answer;
pub(crate) mod archive;
pub(crate) mod build_result;
pub(crate) mod cfignore;
pub(crate) mod container;
pub(crate) mod java;
pub(crate) mod layer;
pub(crate) mod log_file;
pub(crate) mod manifest;
pub(crate) mod messages;
pub(crate) mod procfile;
pub(crate) mod query;
pub(crate) mod request;

/// The first line, for targets that take two inputs, and the rest.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}
