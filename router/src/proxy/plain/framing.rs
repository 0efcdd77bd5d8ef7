//! Where the body of an answer ends.

/// What is left of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked(Chunks),
    /// The body ends with the connection.
    UntilClose,
}

/// The sender broke the rules of its framing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Framing {
    pub(super) const NOTHING: Self = Self::Length(0);

    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunks) => chunks.state == State::End,
            Self::UntilClose => false,
        }
    }

    /// How many of these bytes belong to the body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let taken =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(chunks) => chunks.take(bytes),
            Self::UntilClose => Ok(bytes.len()),
        }
    }
}

/// Follows a chunked body that is passed on as it is (RFC 9112, section 7.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    state: State,
    /// Of the current chunk's size or data.
    left: u64,
    /// Bytes of extensions and trailers so far, which nobody needs many of.
    beside: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No digit of a size yet.
    Start,
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// At the beginning of a line behind the last chunk.
    Line,
    Trailer,
    TrailerLf,
    LastLf,
    End,
}

const MAX_BESIDE: usize = 16 * 1024;

impl Chunks {
    pub(super) const START: Self = Self {
        state: State::Start,
        left: 0,
        beside: 0,
    };

    fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::End {
            if self.state == State::Data {
                let here = usize::try_from(self.left)
                    .map_or(bytes.len() - at, |left| left.min(bytes.len() - at));
                self.left -= here as u64;
                at += here;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    /// The state behind a byte that is no data.
    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        use State as S;
        Ok(match (self.state, byte) {
            (S::Start | S::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
                self.left = self.left.checked_mul(16).ok_or(Malformed)? + u64::from(digit);
                S::Size
            }
            (S::Size | S::Extension, b'\r') => S::SizeEnd,
            (S::Size, b';' | b' ' | b'\t') => S::Extension,
            (S::Extension, b'\n') => return Err(Malformed),
            (S::Extension, _) => self.passes_beside(S::Extension)?,
            (S::SizeEnd, b'\n') if self.left == 0 => S::Line,
            (S::SizeEnd, b'\n') => S::Data,
            (S::DataCr, b'\r') => S::DataLf,
            (S::DataLf, b'\n') => S::Start,
            (S::Line, b'\r') => S::LastLf,
            (S::Trailer, b'\r') => S::TrailerLf,
            (S::Line | S::Trailer, b'\n') => return Err(Malformed),
            (S::Line | S::Trailer, _) => self.passes_beside(S::Trailer)?,
            (S::TrailerLf, b'\n') => S::Line,
            (S::LastLf, b'\n') => S::End,
            _ => return Err(Malformed),
        })
    }

    fn passes_beside(&mut self, state: State) -> Result<State, Malformed> {
        self.beside += 1;
        if self.beside > MAX_BESIDE {
            return Err(Malformed);
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_ends_where_its_rules_say_however_it_is_cut() {
        let cases: [(&[u8], Option<usize>); 12] = [
            (b"0\r\n\r\n", Some(5)),
            (b"3\r\nabc\r\n0\r\n\r\nHTTP/1.1", Some(13)),
            (b"A\r\n0\r\n\r\n89abc\r\n0\r\n\r\n", Some(20)),
            (b"3;name=\"v\"\r\nabc\r\n0\r\nTrailer: x\r\n\r\n", Some(34)),
            (b"3 \r\nabc\r\n0\r\n\r\n", Some(14)),
            (b"3\nabc\r\n0\r\n\r\n", None),
            (b"3\r\nabcd\r\n0\r\n\r\n", None),
            (b"\r\n0\r\n\r\n", None),
            (b"-1\r\n", None),
            (b"0x3\r\nabc\r\n", None),
            (b"fffffffffffffffff\r\n", None),
            (b"0\r\nTrailer: x\n\r\n", None),
        ];
        for (body, expected) in cases {
            for step in [1, 2, 3, 7, body.len()] {
                let mut framing = Framing::Chunked(Chunks::START);
                let taken = body
                    .chunks(step)
                    .try_fold(0, |sum, part| framing.take(part).map(|taken| sum + taken));
                let end = taken.ok().filter(|_| framing.is_complete());
                assert_eq!(end, expected, "{} in steps of {step}", body.escape_ascii());
            }
        }
    }

    #[test]
    fn a_body_with_a_length_takes_no_byte_more() {
        let mut framing = Framing::Length(5);
        assert_eq!(framing.take(b"abc"), Ok(3));
        assert!(!framing.is_complete());
        assert_eq!(framing.take(b"defgh"), Ok(2));
        assert!(framing.is_complete());
        assert_eq!(framing.take(b"x"), Ok(0));
    }
}
