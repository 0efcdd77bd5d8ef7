//! What is wrong with a manifest, and where.

use std::fmt;

/// A place in the text, both numbers from 1. Columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// `7:5 unknown key 'memmory' — did you mean 'memory'?` in its `Display`; the file's name is for the caller to add.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column} {message}")]
pub struct ManifestError {
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// What to write or type instead.
    pub hint: Option<String>,
    /// The line and the one before it, by number. It is the author's own text and may hold values: show it to them, do not
    /// log it.
    pub excerpt: Vec<(usize, String)>,
}

impl ManifestError {
    /// An error at a place of `text`.
    pub fn at(text: &str, position: Position, message: impl Into<String>) -> Self {
        let first = position.line.saturating_sub(1).max(1);
        let excerpt = lines(text)
            .enumerate()
            .skip(first - 1)
            .take(position.line + 1 - first);
        Self {
            line: position.line,
            column: position.column,
            message: message.into(),
            hint: None,
            excerpt: excerpt
                .map(|(index, line)| (index + 1, shorten(line)))
                .collect(),
        }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The excerpt as people read it: `7 |     memmory: 512M`, one line each.
    pub fn excerpt_lines(&self) -> impl Iterator<Item = String> {
        let width = self
            .excerpt
            .last()
            .map_or(1, |(number, _)| number.to_string().len());
        self.excerpt
            .iter()
            .map(move |(number, line)| format!("{number:>width$} | {line}"))
    }
}

/// The lines that positions count: YAML ends one at a line feed, a carriage return, or both together.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_terminator('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

const MAX_EXCERPT_CHARS: usize = 120;

fn shorten(line: &str) -> String {
    if line.chars().count() <= MAX_EXCERPT_CHARS {
        return line.to_owned();
    }
    line.chars().take(MAX_EXCERPT_CHARS).chain(['…']).collect()
}
