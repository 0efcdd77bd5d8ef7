//! See [`crate::fuzz`].

use http::HeaderValue;

use super::answer::{Head, Manner, head};
use super::framing::{Chunks, Framing};
use crate::fuzz::{Answer, End};

pub(crate) fn answer(input: &[u8], is_head_only: bool) -> Option<Answer> {
    let manner = Manner {
        request_id: &HeaderValue::from_static("id"),
        is_head_only,
        is_last: false,
    };
    let Ok(Head::Final(head)) = head(input, manner) else {
        return None;
    };
    Some(Answer {
        status: head.status,
        bytes: head.bytes,
        end: match head.framing {
            Framing::Length(bytes) => End::After(bytes),
            Framing::Chunked(_) => End::Chunked,
            Framing::UntilClose => End::WithConnection,
        },
        outgoing: head.outgoing.to_vec(),
    })
}

pub(crate) fn body(end: End, input: &[u8], step: usize) -> Option<usize> {
    let mut framing = match end {
        End::After(bytes) => Framing::Length(bytes),
        End::Chunked => Framing::Chunked(Chunks::START),
        End::WithConnection => Framing::UntilClose,
    };
    let parts = input.chunks(step.max(1));
    let taken = parts.map(|part| framing.take(part));
    let taken: usize = taken.sum::<Result<usize, _>>().ok()?;
    framing.is_complete().then_some(taken)
}
