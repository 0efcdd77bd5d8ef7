//! What is sent: JSON, YAML, a form, or an upload whose length is known before its first byte.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Frame, SizeHint};
use indicatif::ProgressBar;
use percent_encoding::utf8_percent_encode;

pub(super) type Body = BoxBody<Bytes, io::Error>;

const BOUNDARY: &str = "slipway-7d1c2f6a9b3e4850-boundary";
const CHUNK: usize = 64 * 1024;

/// The body of a call, kept so that a second try can send it again.
pub(crate) enum Payload {
    None,
    Json(Bytes),
    Yaml(Bytes),
    Form(Bytes),
    Raw(Bytes),
    Upload(Upload),
}

/// Bodies may hold secrets.
impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.content_type().unwrap_or("no body"))
    }
}

/// `multipart/form-data` with a text part and at most one file.
pub(crate) struct Upload {
    pub(crate) resources: Option<String>,
    pub(crate) file: Option<FilePart>,
    pub(crate) progress: ProgressBar,
}

/// A file of which `length` bytes are sent.
pub(crate) struct FilePart {
    pub(crate) file: File,
    pub(crate) length: u64,
}

impl Payload {
    pub(crate) fn form(pairs: &[(&str, &str)]) -> Self {
        let escape = |text: &str| utf8_percent_encode(text, super::query::ESCAPED).to_string();
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
            .collect();
        Self::Form(pairs.join("&").into())
    }

    pub(super) const fn is_upload(&self) -> bool {
        matches!(self, Self::Upload(_))
    }

    /// `cf` names JSON even where there is no body.
    pub(super) fn content_type(&self) -> Option<&'static str> {
        Some(match self {
            Self::None | Self::Json(_) => "application/json",
            Self::Yaml(_) => "application/x-yaml",
            Self::Form(_) => "application/x-www-form-urlencoded",
            Self::Upload(_) => concat!(
                "multipart/form-data; boundary=",
                "slipway-7d1c2f6a9b3e4850-boundary"
            ),
            Self::Raw(_) => return None,
        })
    }

    pub(super) fn body(&self) -> io::Result<Body> {
        Ok(match self {
            Self::None => Empty::new().map_err(|never| match never {}).boxed(),
            Self::Json(bytes) | Self::Yaml(bytes) | Self::Form(bytes) | Self::Raw(bytes) => {
                Full::new(bytes.clone())
                    .map_err(|never| match never {})
                    .boxed()
            }
            Self::Upload(upload) => upload.body()?.boxed(),
        })
    }
}

impl Upload {
    fn body(&self) -> io::Result<Parts> {
        let mut head = String::new();
        if let Some(resources) = &self.resources {
            head.push_str(&format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"resources\"\r\n\r\n{resources}\r\n"
            ));
        }
        let mut file = None;
        let mut tail = format!("--{BOUNDARY}--\r\n");
        if let Some(part) = &self.file {
            head.push_str(&format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"bits\"; filename=\"package.zip\"\r\n\
                 Content-Type: application/zip\r\n\r\n"
            ));
            tail.insert_str(0, "\r\n");
            let mut handle = part.file.try_clone()?;
            handle.rewind()?;
            file = Some((handle, part.length));
        }
        self.progress.set_position(0);
        let total =
            head.len() as u64 + file.as_ref().map_or(0, |(_, length)| *length) + tail.len() as u64;
        Ok(Parts {
            head: Some(head.into()),
            file,
            tail: Some(tail.into()),
            left: total,
            progress: self.progress.clone(),
        })
    }
}

/// Head, file and tail, one after the other. Its exact size hint makes the client send `Content-Length`.
struct Parts {
    head: Option<Bytes>,
    file: Option<(File, u64)>,
    tail: Option<Bytes>,
    left: u64,
    progress: ProgressBar,
}

impl Parts {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        if let Some((file, left)) = &mut self.file {
            if *left > 0 {
                let want = (*left).min(CHUNK as u64);
                let mut chunk = Vec::with_capacity(want as usize);
                file.by_ref().take(want).read_to_end(&mut chunk)?;
                if chunk.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= chunk.len() as u64;
                self.progress.inc(chunk.len() as u64);
                return Ok(Some(chunk.into()));
            }
            self.file = None;
        }
        Ok(self.tail.take())
    }
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = io::Error;

    // The file is a fresh temporary one, so reading it does not wait for a disk.
    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let parts = self.get_mut();
        let next = parts.next().transpose().map(|result| {
            result.map(|bytes| {
                parts.left = parts.left.saturating_sub(bytes.len() as u64);
                Frame::data(bytes)
            })
        });
        Poll::Ready(next)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn an_upload_has_the_length_it_announces_also_the_second_time() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&[7; 200_000]).expect("written");
        let file = Some(FilePart {
            file,
            length: 200_000,
        });
        let upload = Upload {
            resources: Some("[]".into()),
            file,
            progress: ProgressBar::hidden(),
        };
        for _ in 0..2 {
            let body = upload.body().expect("readable");
            let announced = hyper::body::Body::size_hint(&body).exact().expect("exact");
            let bytes = body.collect().await.expect("all of it").to_bytes();
            assert_eq!(bytes.len() as u64, announced);
            let text = String::from_utf8_lossy(&bytes);
            let resources = text.find("name=\"resources\"").expect("a resources part");
            let bits = text
                .find("name=\"bits\"; filename=\"package.zip\"")
                .expect("a bits part");
            assert!(resources < bits && text.ends_with(&format!("\r\n--{BOUNDARY}--\r\n")));
        }
    }
}
