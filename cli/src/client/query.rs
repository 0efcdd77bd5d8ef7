//! Query strings, escaped as `cf` escapes them.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but the unreserved characters of RFC 3986.
pub(super) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A text as one part of a path.
pub(crate) fn path_part(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, ESCAPED)
}

/// `cf`'s batch for filters by GUID, which keeps addresses short enough for everything on the way.
pub(crate) const GUIDS_PER_QUERY: usize = 200;

/// A path with its query.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    text: String,
    empty: bool,
}

impl Query {
    pub(crate) fn of(path: impl Into<String>) -> Self {
        Self {
            text: path.into(),
            empty: true,
        }
    }

    /// An empty value is sent: for `hosts` and `paths` it means "exactly empty".
    pub(crate) fn with(mut self, key: &str, value: impl AsRef<str>) -> Self {
        let separator = if self.empty { '?' } else { '&' };
        self.empty = false;
        let key = utf8_percent_encode(key, ESCAPED);
        let value = utf8_percent_encode(value.as_ref(), ESCAPED);
        write!(self.text, "{separator}{key}={value}").expect("texts take everything");
        self
    }

    /// A name; a comma inside it is no separator.
    pub(crate) fn name(self, key: &str, name: &str) -> Self {
        self.with(key, name.replace(',', "%2C"))
    }

    /// One page with one entry, for look-ups by name.
    pub(crate) fn one(self) -> Self {
        self.with("page", "1").with("per_page", "1")
    }

    pub(crate) fn build(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_lists_are_escaped_as_cf_does() {
        let built = Query::of("/v3/apps")
            .name("names", "a,b c")
            .with("space_guids", "x,y")
            .with("paths", "")
            .one()
            .build();
        assert_eq!(
            built,
            "/v3/apps?names=a%252Cb%20c&space_guids=x%2Cy&paths=&page=1&per_page=1"
        );
    }
}
