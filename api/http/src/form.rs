//! `a=b&c=d`, as queries and token requests have it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Pairs in their order. None where an escape is no UTF-8.
pub(crate) fn decode(text: &str) -> Option<Vec<(String, String)>> {
    let plain = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_decode_str(&spaced)
            .decode_utf8()
            .ok()
            .map(std::borrow::Cow::into_owned)
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((plain(key)?, plain(value)?))
        })
        .collect()
}

pub(crate) fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    pairs
        .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// Escapes all but letters, digits and `-_.~`.
pub(crate) fn escape(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, ESCAPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_decode_as_browsers_and_cf_encode_them() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        for (text, want) in [
            ("", vec![]),
            ("a=b&c=d+e%2Bf", vec![pair("a", "b"), pair("c", "d e+f")]),
            (
                "hosts=&flag&x=a=b",
                vec![pair("hosts", ""), pair("flag", ""), pair("x", "a=b")],
            ),
            (
                "fields%5Bspace%5D=name%2Cguid",
                vec![pair("fields[space]", "name,guid")],
            ),
            ("names=a%252Cb", vec![pair("names", "a%2Cb")]),
        ] {
            assert_eq!(decode(text), Some(want), "{text}");
        }
        assert_eq!(decode("a=%ff"), None);
    }
}
