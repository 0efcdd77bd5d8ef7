//! A client that speaks bytes, so that tests see exactly what is on the wire.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than anything here takes, shorter than a person's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and headers as they came.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find_header(&self.head, name)
    }

    /// A header of the request that the echo app saw.
    pub(crate) fn echoed(&self, name: &str) -> Option<&str> {
        find_header(&self.body, name)
    }
}

fn find_header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().skip(1).take_while(|line| !line.is_empty());
    let mut pairs = lines.filter_map(|line| line.split_once(':'));
    pairs
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// Fails the test where the other side is silent for too long.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: soon("connecting", TcpStream::connect(address))
                .await
                .expect("connect"),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon("sending", self.stream.write_all(bytes.as_ref()))
            .await
            .expect("send");
    }

    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        self.answer().await
    }

    pub(crate) async fn head(&mut self) -> Answer {
        let mut head = Vec::new();
        let read = async {
            while !head.ends_with(b"\r\n\r\n") {
                match self.stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(error) => panic!(
                        "no answer ({error}) after {:?}",
                        String::from_utf8_lossy(&head)
                    ),
                }
            }
        };
        soon("the head of an answer", read).await;
        let head = String::from_utf8(head).expect("ASCII");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status line");
        Answer {
            status,
            head,
            body: String::new(),
        }
    }

    /// An answer with its body, by length, chunks or the end of the connection.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let body = async {
            if let Some(length) = answer.header("content-length") {
                self.exactly(length.parse().expect("a length")).await
            } else if answer.header("transfer-encoding") == Some("chunked") {
                let mut body = Vec::new();
                while let Some(chunk) = self.chunk().await {
                    body.extend_from_slice(&chunk);
                }
                body
            } else {
                let mut body = Vec::new();
                self.stream
                    .read_to_end(&mut body)
                    .await
                    .expect("read to the end");
                body
            }
        };
        let body = soon("the body of an answer", body).await;
        answer.body = String::from_utf8(body).expect("UTF-8");
        answer
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        soon("more bytes", self.stream.read_exact(&mut bytes))
            .await
            .expect("read");
        bytes
    }

    /// The next chunk, without reading the trailers after the last.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line().await;
        let length = usize::from_str_radix(&line, 16).expect("a chunk's length");
        if length == 0 {
            while !self.line().await.is_empty() {}
            return None;
        }
        let bytes = self.exactly(length).await;
        assert_eq!(self.line().await, "");
        Some(bytes)
    }

    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(soon("a line", self.stream.read_u8()).await.expect("read"));
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).expect("UTF-8")
    }

    /// Everything up to the end of the connection, however it ends.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = soon(
            "the end of the connection",
            self.stream.read_to_end(&mut bytes),
        )
        .await;
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Calls `check` until it is true; for what has no event.
pub(crate) async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let poll = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(what, poll).await;
}
