//! The multipart body of a package upload, streamed to a scratch file.

use api_control::{Control, ResourceRef, Scratch};
use api_types::ResourceMatch;
use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError};
use http::{HeaderMap, StatusCode, header};
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use crate::body::without_values;
use crate::error::{ApiError, Outcome};

/// Cloud Foundry's default limit of a package, and room for the other parts.
pub(crate) const MAX_BYTES: usize = 1024 * 1024 * 1024;
/// The list of matched files: 100,000 entries with paths of common length.
const MAX_RESOURCES_BYTES: usize = 32 * 1024 * 1024;

/// What was uploaded. The file is removed with it.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub(crate) resources: Vec<ResourceRef>,
    pub(crate) bits: Option<Scratch>,
}

/// How often the disk is looked at while an upload comes in.
const LOOK_AFTER: u64 = 8 * 1024 * 1024;

/// Refuses an upload by its announced length before a byte of it is read, and gives that length; 0 where none is
/// announced.
pub(crate) fn check_length(headers: &HeaderMap) -> Outcome<u64> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    if length > MAX_BYTES as u64 {
        Err(too_large())
    } else {
        Ok(length)
    }
}

/// Reads the parts `resources` and `bits`, in either order; others are passed over.
pub(crate) async fn receive(mut parts: Multipart, control: &Control) -> Outcome<Upload> {
    let mut upload = Upload::default();
    let mut has_resources = false;
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        match part.name() {
            Some("resources") if !has_resources => {
                upload.resources = resources(part).await?;
                has_resources = true;
            }
            Some("bits") if upload.bits.is_none() => {
                upload.bits = Some(store(part, control).await?)
            }
            Some(name @ ("resources" | "bits")) => {
                return Err(ApiError::unprocessable(format!(
                    "the upload has the part '{name}' twice"
                )));
            }
            _ => {}
        }
    }
    if upload.bits.is_none() && !has_resources {
        return Err(ApiError::unprocessable(
            "Upload must include either resources or bits",
        ));
    }
    Ok(upload)
}

async fn resources(mut part: Field<'_>) -> Outcome<Vec<ResourceRef>> {
    let mut text = Vec::new();
    while let Some(chunk) = part.chunk().await.map_err(broken)? {
        if text.len() + chunk.len() > MAX_RESOURCES_BYTES {
            return Err(ApiError::unprocessable(format!(
                "the part 'resources' has more than {MAX_RESOURCES_BYTES} bytes"
            )));
        }
        text.extend_from_slice(&chunk);
    }
    let entries = serde_json::from_slice::<Vec<ResourceMatch>>(&text).map_err(|error| {
        let what = without_values(&error.to_string());
        ApiError::unprocessable(format!(
            "the part 'resources' is not a list of files: {what}"
        ))
    })?;
    entries.into_iter().map(resource).collect()
}

async fn store(mut part: Field<'_>, control: &Control) -> Outcome<Scratch> {
    let file = Scratch::new(control.scratch());
    let failed = |error: std::io::Error| ApiError::from(api_control::Error::file(error));
    let mut target = File::create_new(file.path()).await.map_err(failed)?;
    let (mut written, mut looked) = (0, 0);
    while let Some(chunk) = part.chunk().await.map_err(broken)? {
        target.write_all(&chunk).await.map_err(failed)?;
        written += chunk.len() as u64;
        // Others write too, and a length need not be announced.
        if written - looked >= LOOK_AFTER {
            looked = written;
            control.check_room("this upload", 0).await?;
        }
    }
    target.flush().await.map_err(failed)?;
    Ok(file)
}

/// A file as clients name it.
pub(crate) fn resource(entry: ResourceMatch) -> Outcome<ResourceRef> {
    let sha1 = entry.checksum.value;
    if sha1.len() != 40 || !sha1.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ApiError::unprocessable(
            "checksum.value of a resource must be 40 hex digits, a SHA-1",
        ));
    }
    Ok(ResourceRef {
        sha1,
        size: entry.size_in_bytes,
        path: Some(entry.path).filter(|path| !path.is_empty()),
        mode: mode(&entry.mode)?,
    })
}

/// `644`, also with the file type before it, as in `100644`.
fn mode(text: &str) -> Outcome<Option<u32>> {
    if text.is_empty() {
        return Ok(None);
    }
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|_| text.len() <= 7);
    mode.map(|mode| Some(mode & 0o7777))
        .ok_or_else(|| ApiError::unprocessable("mode of a resource must be octal, such as 644"))
}

fn broken(error: MultipartError) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        too_large()
    } else {
        ApiError::unreadable("the body is not complete multipart/form-data")
    }
}

fn too_large() -> ApiError {
    let mib = MAX_BYTES / (1024 * 1024);
    ApiError::unprocessable(format!(
        "the upload has more than {mib} MiB; leave out what the app does not need with .cfignore"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_with_or_without_file_type() {
        for (text, want) in [
            ("644", Some(0o644)),
            ("0755", Some(0o755)),
            ("100644", Some(0o644)),
            ("", None),
        ] {
            assert_eq!(mode(text).expect(text), want, "{text}");
        }
        for bad in ["888", "rw-", "-1", "77777777777"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn checksums_are_sha1() {
        let entry = |value: &str| ResourceMatch {
            checksum: api_types::ResourceChecksum {
                value: value.into(),
            },
            path: "a".into(),
            ..ResourceMatch::default()
        };
        assert!(resource(entry(&"0a".repeat(20))).is_ok());
        for bad in ["", "xyz", &"0a".repeat(32), &"é".repeat(20)] {
            assert!(resource(entry(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn announced_lengths_are_checked_first() {
        let mut headers = HeaderMap::new();
        assert_eq!(check_length(&headers).expect("none"), 0);
        headers.insert(
            header::CONTENT_LENGTH,
            http::HeaderValue::from(MAX_BYTES as u64),
        );
        assert!(check_length(&headers).is_ok());
        headers.insert(
            header::CONTENT_LENGTH,
            http::HeaderValue::from(MAX_BYTES as u64 + 1),
        );
        assert!(check_length(&headers).is_err());
    }
}
