//! What an instance says, which is an app's: one byte of how it is read, then the bytes of its answer.

use router::fuzz::{Answer, End, answer, body};

/// Concern one connection, or are the router's to set.
const NEVER: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "proxy-authorization",
];

pub(crate) fn run(bytes: &[u8]) {
    let Some((how, bytes)) = bytes.split_first() else {
        return;
    };
    let (is_head_only, step) = (how & 1 == 1, usize::from(how >> 1) + 1);
    // A chunked body is passed on as it came, so its end must not depend on how it came.
    for end in [End::Chunked, End::After(u64::from(*how) * 3)] {
        let whole = body(end, bytes, usize::MAX);
        assert_eq!(whole, body(end, bytes, step), "{end:?}");
        assert!(whole.is_none_or(|length| length <= bytes.len()));
    }
    if let Some(read) = answer(bytes, is_head_only) {
        sound(&read, bytes, is_head_only);
    }
}

/// Whoever reads the outgoing head must take the body to end where the router does.
fn sound(read: &Answer, bytes: &[u8], is_head_only: bool) {
    assert!(read.bytes <= bytes.len() && read.status >= 200);
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut outgoing = httparse::Response::new(&mut headers);
    let parsed = outgoing.parse(&read.outgoing);
    assert_eq!(
        parsed,
        Ok(httparse::Status::Complete(read.outgoing.len())),
        "{}",
        read.outgoing.escape_ascii()
    );
    assert_eq!(outgoing.code, Some(read.status));
    let all = |name: &str| -> Vec<&[u8]> {
        let named = outgoing.headers.iter();
        let named = named.filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    };
    for name in NEVER {
        assert!(all(name).is_empty(), "{name} is passed on");
    }
    assert_eq!(all("x-vcap-request-id"), [b"id"]);
    let (lengths, encodings) = (all("content-length"), all("transfer-encoding"));
    assert!(lengths.len() <= 1, "{lengths:?}");
    if is_head_only || matches!(read.status, 204 | 304) {
        assert_eq!(read.end, End::After(0));
        assert!(encodings.is_empty());
        return;
    }
    match read.end {
        End::After(length) => {
            assert_eq!(lengths, [length_as_said(&lengths, length)]);
            assert!(encodings.is_empty());
        }
        End::Chunked | End::WithConnection => {
            assert!(lengths.is_empty());
            assert_eq!(encodings, [b"chunked"]);
        }
    }
}

/// The one length's own bytes if they mean `length`; it may have zeros in front.
fn length_as_said<'a>(lengths: &[&'a [u8]], length: u64) -> &'a [u8] {
    let said = lengths.first().copied().unwrap_or_default();
    let number = std::str::from_utf8(said).ok();
    let number = number.and_then(|text| text.trim().parse().ok());
    if number == Some(length) {
        said
    } else {
        b"another length"
    }
}
