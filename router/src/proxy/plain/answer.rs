//! From the bytes of an answer's head to the bytes that the client gets.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime};

use bytes::BufMut as _;
use http::HeaderValue;

use super::buffer::Buffer;
use super::framing::{Chunks, Framing, Malformed};
use super::plan::put;

/// As many as hyper takes.
const MAX_HEADERS: usize = 100;

#[derive(Debug)]
pub(super) enum Head {
    Incomplete,
    /// Of the final answer that follows; so many bytes.
    Interim(usize),
    Final(AnswerHead),
}

#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) bytes: usize,
    pub(super) status: u16,
    pub(super) framing: Framing,
    /// Whether the instance can take another request on the connection afterwards.
    pub(super) is_kept: bool,
    /// For the client.
    pub(super) outgoing: Buffer,
}

/// How the client gets the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner<'a> {
    pub(super) request_id: &'a HeaderValue,
    pub(super) is_head_only: bool,
    /// The client's connection closes behind it.
    pub(super) is_last: bool,
}

/// Reads a head and writes the client's. The same rules as in `headers.rs`.
pub(super) fn head(input: &[u8], manner: Manner<'_>) -> Result<Head, Malformed> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config
        .parse_response_with_uninit_headers(&mut response, input, &mut headers)
        .map_err(|_| Malformed)?;
    let httparse::Status::Complete(bytes) = parsed else {
        return Ok(Head::Incomplete);
    };
    let status = response.code.ok_or(Malformed)?;
    match status {
        // Nobody asked for another protocol.
        101 | 0..100 => return Err(Malformed),
        100..200 => return Ok(Head::Interim(bytes)),
        _ => {}
    }
    let headers = &*response.headers;
    let connection = Connection::of(headers, response.version == Some(1));
    let is_bare = manner.is_head_only || matches!(status, 204 | 304);
    let framing = framing(headers)?;

    let mut outgoing = Buffer::empty();
    outgoing.reserve(bytes);
    outgoing.put_slice(b"HTTP/1.1 ");
    // Three digits: the parser takes no others.
    outgoing
        .put_slice(&[100, 10, 1].map(|unit| b'0' + u8::try_from(status / unit % 10).unwrap_or(0)));
    outgoing.put_slice(b" ");
    outgoing.put_slice(response.reason.unwrap_or_default().as_bytes());
    outgoing.put_slice(b"\r\n");
    let (mut has_date, mut has_length) = (false, false);
    for header in headers {
        let is_length = header.name.eq_ignore_ascii_case("content-length");
        let has_none = status == 204 || !matches!(framing, Framing::Length(_)) && !is_bare;
        // One that is said twice is passed on once (RFC 9110, section 8.6).
        if is_length && (has_none || std::mem::replace(&mut has_length, true)) {
            continue;
        }
        if is_dropped(header.name) || connection.names(header.name) && !is_length {
            continue;
        }
        has_date |= header.name.eq_ignore_ascii_case("date");
        put(&mut outgoing, header.name.as_bytes(), header.value);
    }
    if !has_date {
        put_date(&mut outgoing);
    }
    put(
        &mut outgoing,
        b"x-vcap-request-id",
        manner.request_id.as_bytes(),
    );
    if manner.is_last {
        put(&mut outgoing, b"connection", b"close");
    }
    let framing = if is_bare { Framing::NOTHING } else { framing };
    if !matches!(framing, Framing::Length(_)) {
        put(&mut outgoing, b"transfer-encoding", b"chunked");
    }
    outgoing.put_slice(b"\r\n");
    Ok(Head::Final(AnswerHead {
        bytes,
        status,
        is_kept: connection.is_kept && framing != Framing::UntilClose,
        framing,
        outgoing,
    }))
}

/// Headers of one connection, and those that the router sets.
fn is_dropped(name: &str) -> bool {
    const DROPPED: [&str; 10] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "transfer-encoding",
        "upgrade",
        "expect",
        "x-vcap-request-id",
    ];
    DROPPED.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// RFC 9112, section 6.3: an encoding stands above a length.
fn framing(headers: &[httparse::Header<'_>]) -> Result<Framing, Malformed> {
    let all = |name: &'static str| {
        headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value.trim_ascii())
    };
    if let Some(last) = all("transfer-encoding").next_back() {
        let last = last.rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if is_chunked {
            Framing::Chunked(Chunks::START)
        } else {
            Framing::UntilClose
        });
    }
    let mut length = None;
    for value in all("content-length") {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).map_err(|_| Malformed)?;
        let number: u64 = text.parse().map_err(|_| Malformed)?;
        if !is_number || length.is_some_and(|known| known != number) {
            return Err(Malformed);
        }
        length = Some(number);
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

/// What an answer's `Connection` says.
struct Connection<'a> {
    is_kept: bool,
    /// Where it says more than to close or to keep.
    named: Vec<&'a [u8]>,
}

impl<'a> Connection<'a> {
    fn of(headers: &[httparse::Header<'a>], is_kept_by_default: bool) -> Self {
        let mut this = Self {
            is_kept: is_kept_by_default,
            named: Vec::new(),
        };
        let values = headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("connection"));
        let mut closes = false;
        for token in values.flat_map(|header| header.value.split(|byte| *byte == b',')) {
            match token.trim_ascii() {
                close if close.eq_ignore_ascii_case(b"close") => closes = true,
                keep if keep.eq_ignore_ascii_case(b"keep-alive") => this.is_kept = true,
                name => this.named.push(name),
            }
        }
        this.is_kept &= !closes;
        this
    }

    fn names(&self, name: &str) -> bool {
        self.named
            .iter()
            .any(|named| named.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// An answer without a date gets that of its arrival (RFC 9110, section 6.6.1).
fn put_date(into: &mut Buffer) {
    thread_local! {
        static NEWEST: RefCell<(Duration, String)> = const { RefCell::new((Duration::ZERO, String::new())) };
    }
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    NEWEST.with_borrow_mut(|(second, text)| {
        if second.as_secs() != now.as_secs() || text.is_empty() {
            let shown = i64::try_from(now.as_secs())
                .ok()
                .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
                .and_then(|time| {
                    jiff::fmt::rfc2822::DateTimePrinter::new()
                        .timestamp_to_rfc9110_string(&time)
                        .ok()
                });
            *text = shown.unwrap_or_default();
            *second = now;
        }
        if !text.is_empty() {
            put(into, b"date", text.as_bytes());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_its_meaning_and_loses_what_concerns_one_connection() {
        let id = HeaderValue::from_static("id");
        let manner = |is_head_only| Manner {
            request_id: &id,
            is_head_only,
            is_last: false,
        };
        let shown = |text: &str, is_head_only| match head(text.as_bytes(), manner(is_head_only)) {
            Ok(Head::Final(head)) => {
                let out = String::from_utf8(head.outgoing.to_vec()).expect("text");
                let lines = out
                    .trim_end()
                    .lines()
                    .filter(|line| !line.starts_with("date: "));
                Some((
                    lines.collect::<Vec<_>>().join("|"),
                    head.framing,
                    head.is_kept,
                ))
            }
            _ => None,
        };
        let cases = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: 1\r\nX: y\r\n\r\n",
                "HTTP/1.1 200 OK|Content-Length: 5|X: y|x-vcap-request-id: id",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 404 Nothing Here\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                "HTTP/1.1 404 Nothing Here|x-vcap-request-id: id|transfer-encoding: chunked",
                Framing::Chunked(Chunks::START),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: close, X-Own\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 200 OK|Content-Length: 0|x-vcap-request-id: id",
                Framing::Length(0),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\n\r\n",
                "HTTP/1.1 200 OK|x-vcap-request-id: id|transfer-encoding: chunked",
                Framing::UntilClose,
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\ncontent-length: 5\r\n\r\n",
                "HTTP/1.1 200 OK|Content-Length: 5|X: y|x-vcap-request-id: id",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
                "HTTP/1.1 304 Not Modified|Content-Length: 9|x-vcap-request-id: id",
                Framing::NOTHING,
                true,
            ),
        ];
        for (text, out, framing, is_kept) in cases {
            assert_eq!(
                shown(text, false),
                Some((out.to_owned(), framing, is_kept)),
                "{text}"
            );
        }
        let (out, framing, _) =
            shown("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true).expect("an answer");
        assert!(
            out.contains("Content-Length: 9") && framing == Framing::NOTHING,
            "{out}"
        );
    }

    #[test]
    fn an_answer_with_two_meanings_is_none() {
        let id = HeaderValue::from_static("id");
        let manner = Manner {
            request_id: &id,
            is_head_only: false,
            is_last: false,
        };
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert!(head(text.as_bytes(), manner).is_err(), "{text}");
        }
        assert!(matches!(
            head(b"HTTP/1.1 100 Continue\r\n\r\nHTTP", manner),
            Ok(Head::Interim(25))
        ));
        assert!(matches!(
            head(b"HTTP/1.1 200 OK\r\nX: y", manner),
            Ok(Head::Incomplete)
        ));
    }
}
