//! Ids of requests: unique, in the form of a GUID, cheap. They are no secret, so no random bytes of the kernel are spent.

use std::cell::Cell;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use http::HeaderValue;

thread_local! {
    /// SplitMix64 states, seeded apart on every thread by the standard library's own random keys.
    static STATE: Cell<[u64; 2]> = {
        let seed = || RandomState::new().build_hasher().finish();
        Cell::new([seed(), seed()])
    };
}

/// A new id in the form of a version 4 GUID.
pub(crate) fn new() -> HeaderValue {
    let [high, low] = STATE.with(|state| {
        let next = state
            .get()
            .map(|part| part.wrapping_add(0x9e37_79b9_7f4a_7c15));
        state.set(next);
        next.map(mix)
    });
    let number = (u128::from(high) << 64 | u128::from(low)) & !(0xf << 76) & !(0x3 << 62)
        | 4 << 76
        | 2 << 62;
    HeaderValue::from_bytes(&hyphenated(number))
        .expect("hexadecimal digits and hyphens are a header value")
}

const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn hyphenated(number: u128) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let mut shift = 128;
    for (at, byte) in text.iter_mut().enumerate() {
        if !matches!(at, 8 | 13 | 18 | 23) {
            shift -= 4;
            *byte = b"0123456789abcdef"[(number >> shift) as usize & 0xf];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_distinct_guids_of_version_4() {
        let ids: HashSet<_> = (0..10_000).map(|_| new()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids {
            let text = id.to_str().expect("ascii");
            text.parse::<model::ids::AppId>().expect("a GUID");
            assert_eq!(&text[14..15], "4", "{text}");
            assert!("89ab".contains(&text[19..20]), "{text}");
        }
    }
}
