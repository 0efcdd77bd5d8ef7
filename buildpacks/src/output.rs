//! The build's own words: what a person who pushes reads while it runs.
//!
//! In the style of all buildpacks: a step begins with `-----> `, everything else is indented by seven spaces.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;

/// Writes the build's output line by line and remembers its end.
pub struct Output {
    to: Box<dyn Write + Send>,
    last: VecDeque<String>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

impl Output {
    /// Lines of a command's output that a failure quotes.
    pub const LAST_LINES: usize = 20;
    const MAX_QUOTED_CHARS: usize = 1000;

    #[must_use]
    pub fn new(to: Box<dyn Write + Send>) -> Self {
        Self {
            to,
            last: VecDeque::new(),
        }
    }

    pub fn step(&mut self, text: &str) {
        self.write(&format!("-----> {text}"));
    }

    pub fn line(&mut self, text: &str) {
        self.write(&format!("       {text}"));
    }

    pub fn warning(&mut self, text: &str) {
        self.write(&format!("       **WARNING** {text}"));
    }

    /// One raw line of a command: shown without its escape sequences, and remembered.
    pub(crate) fn command_line(&mut self, raw: &[u8]) {
        let text = plain(raw);
        self.line(&text);
        if !text.trim().is_empty() {
            if self.last.len() == Self::LAST_LINES {
                self.last.pop_front();
            }
            self.last
                .push_back(text.chars().take(Self::MAX_QUOTED_CHARS).collect());
        }
    }

    /// The end of the commands' output since the last call.
    pub(crate) fn take_last_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.last).into()
    }

    /// A reader that went away must not fail the build.
    fn write(&mut self, line: &str) {
        let _ = writeln!(self.to, "{}", line.trim_end());
        let _ = self.to.flush();
    }
}

/// The text that a terminal would show for a line: no escape sequences, no control characters, and of a line that was
/// overwritten by carriage returns only its last state.
fn plain(raw: &[u8]) -> String {
    let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
    let raw = raw.rsplit(|byte| *byte == b'\r').next().unwrap_or(raw);
    let text = String::from_utf8_lossy(raw);
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => match chars.next() {
                // Control sequence: ends with a byte from @ to ~.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // Operating system command: ends with BEL or ESC \.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                Some('(' | ')') => {
                    chars.next();
                }
                _ => {}
            },
            '\t' => shown.push('\t'),
            c if c.is_control() => {}
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_show_what_a_terminal_would_show() {
        for (raw, want) in [
            (&b"\x1b[1;31m[ERROR]\x1b[m bad\x1b[K"[..], "[ERROR] bad"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "link"),
            (b"10%\r50%\r100%\r", "100%"),
            (b"tab\there\x07\x00", "tab\there"),
            (b"caf\xc3\xa9 \xff", "caf\u{e9} \u{fffd}"),
            (b"cut \x1b[3", "cut "),
            (b"", ""),
        ] {
            assert_eq!(plain(raw), want, "{raw:?}");
        }
    }

    #[test]
    fn a_failure_quotes_the_last_twenty_lines_that_say_something() {
        let mut output = Output::new(Box::new(std::io::sink()));
        for number in 0..100 {
            output.command_line(format!("line {number}").as_bytes());
            output.command_line(b"  ");
        }
        let last = output.take_last_lines();
        assert_eq!(
            (last.len(), last[0].as_str(), last[19].as_str()),
            (20, "line 80", "line 99")
        );
        assert!(output.take_last_lines().is_empty());
    }
}
