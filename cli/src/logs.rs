//! Reading log-cache: recent lines, and new ones as they come.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use api_types::{Envelope, LogKind, ReadResponse};
use http::Method;

use crate::client::{Call, Query};
use crate::context::Context;
use crate::error::Outcome;

/// log-cache's limit for one call.
pub(crate) const MAX_LINES: usize = 1000;
/// How far behind the newest line one from another instance may arrive.
const OVERLAP_NS: i64 = 2_000_000_000;

/// The logs of one app.
pub(crate) struct LogReader<'a> {
    context: &'a Context,
    url: String,
}

impl<'a> LogReader<'a> {
    pub(crate) fn of_app(context: &'a Context, app: &str) -> Outcome<Self> {
        let url = format!("{}/api/v1/read/{app}", context.log_cache_url()?);
        Ok(Self { context, url })
    }

    /// At most `limit` of the newest lines, oldest first.
    pub(crate) async fn recent(&self, limit: usize) -> Outcome<Vec<Envelope>> {
        let limit = limit.min(MAX_LINES).to_string();
        let query = Query::of(&self.url)
            .with("descending", "true")
            .with("envelope_types", "LOG")
            .with("limit", limit)
            .with("start_time", "-6795364578871345152");
        let mut lines = self.read(query).await?;
        lines.reverse();
        lines.sort_by_key(|line| line.timestamp);
        Ok(lines)
    }

    /// At most [`MAX_LINES`] lines from `start`, oldest first.
    async fn since(&self, start: i64) -> Outcome<Vec<Envelope>> {
        let query = Query::of(&self.url)
            .with("envelope_types", "LOG")
            .with("limit", MAX_LINES.to_string());
        let mut lines = self
            .read(query.with("start_time", start.to_string()))
            .await?;
        lines.sort_by_key(|line| line.timestamp);
        Ok(lines)
    }

    async fn read(&self, query: Query) -> Outcome<Vec<Envelope>> {
        let answer: ReadResponse = self
            .context
            .client
            .send(Call::new(Method::GET, query.build()))
            .await?
            .read()?;
        Ok(answer
            .envelopes
            .batch
            .into_iter()
            .filter(|line| line.log.is_some())
            .collect())
    }
}

/// What a [`Tail`] reads at once.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) lines: Vec<Envelope>,
    /// More may be there already: as much came as one answer holds.
    pub(crate) full: bool,
}

/// A place in the logs that moves on. Lines that arrive a little late are not lost, and none is given twice.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Nothing older is given.
    start: i64,
    newest: i64,
    seen: HashSet<(i64, u64)>,
}

impl Tail {
    /// Only lines after those that are there now.
    pub(crate) async fn after_now(reader: &LogReader<'_>) -> Outcome<Self> {
        let newest = reader
            .recent(1)
            .await?
            .last()
            .map_or(i64::MIN + OVERLAP_NS, |line| line.timestamp);
        Ok(Self::after(newest))
    }

    pub(crate) fn after(newest: i64) -> Self {
        Self {
            start: newest.saturating_add(1),
            newest,
            seen: HashSet::new(),
        }
    }

    /// What came since the last call.
    pub(crate) async fn next(&mut self, reader: &LogReader<'_>) -> Outcome<Batch> {
        let batch = reader.since(self.from()).await?;
        let full = batch.len() >= MAX_LINES;
        Ok(self.take(batch, full))
    }

    fn from(&self) -> i64 {
        self.start.max(self.newest.saturating_sub(OVERLAP_NS))
    }

    fn take(&mut self, batch: Vec<Envelope>, full: bool) -> Batch {
        let before = self.from();
        let fresh: Vec<_> = batch
            .into_iter()
            .filter(|line| self.seen.insert((line.timestamp, fingerprint(line))))
            .collect();
        if let Some(last) = fresh.last() {
            self.newest = self.newest.max(last.timestamp);
        }
        if full {
            // The overlap alone could fill every answer; from here on only what is newer counts.
            self.start = self.newest;
        }
        let from = self.from();
        self.seen.retain(|(time, _)| *time >= from);
        Batch {
            lines: fresh,
            // Another answer from the same place would be the same.
            full: full && from > before,
        }
    }
}

fn fingerprint(line: &Envelope) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.instance_id.hash(&mut hasher);
    line.tags.hash(&mut hasher);
    line.log.as_ref().map(|log| &log.payload).hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn source(line: &Envelope) -> &str {
    line.tags.get("source_type").map_or("", String::as_str)
}

/// The line's text, safe for a terminal: colours stay, what would move the cursor or ring goes.
pub(crate) fn text(line: &Envelope) -> String {
    let payload = line.log.as_ref().map_or(&[][..], |log| &log.payload);
    clean(&String::from_utf8_lossy(payload))
}

/// `2026-11-24T15:00:00.12Z [APP/PROC/WEB/0] OUT line`, `cf`'s form in UTC.
pub(crate) fn format(line: &Envelope) -> String {
    let kind = match line.log.as_ref().map(|log| log.kind) {
        Some(LogKind::Err) => "ERR",
        _ => "OUT",
    };
    format!(
        "{} [{}/{}] {kind} {}",
        time(line.timestamp),
        source(line),
        line.instance_id,
        text(line)
    )
}

/// Nanoseconds since the Unix epoch as RFC 3339 with hundredths.
pub(crate) fn time(ns: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(timestamp) => format!("{timestamp:.2}"),
        Err(_) => ns.to_string(),
    }
}

pub(crate) fn clean(text: &str) -> String {
    // A progress line that overwrites itself: its last state.
    let text = text.trim_end_matches(['\r', '\n']);
    let text = text.rsplit('\r').next().unwrap_or(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\t' => out.push(c),
            '\u{1b}' if rest.peek() == Some(&'[') => {
                let mut sequence = String::from("\u{1b}");
                while let Some(next) = rest.next_if(|c| !c.is_control()) {
                    sequence.push(next);
                    if next.is_ascii_alphabetic() || sequence.len() > 32 {
                        break;
                    }
                }
                if sequence.ends_with('m') {
                    out.push_str(&sequence);
                }
            }
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use api_types::Log;

    use super::*;

    fn line(timestamp: i64, text: &str) -> Envelope {
        let log = Some(Log {
            payload: text.into(),
            kind: LogKind::Out,
        });
        Envelope {
            timestamp,
            log,
            ..Envelope::default()
        }
    }

    fn texts(lines: &[Envelope]) -> Vec<String> {
        lines.iter().map(text).collect()
    }

    #[test]
    fn late_lines_are_given_and_none_twice() {
        let second = 1_000_000_000;
        let mut tail = Tail::after(100 * second);
        assert_eq!(
            texts(&tail.take(vec![line(105 * second, "b")], false).lines),
            ["b"]
        );
        let again = vec![
            line(104 * second, "late"),
            line(105 * second, "b"),
            line(105 * second, "same time"),
        ];
        assert_eq!(texts(&tail.take(again, false).lines), ["late", "same time"]);
        assert_eq!(tail.from(), 103 * second);
        assert!(
            Tail::after(100).from() > 100,
            "what was there before is not given"
        );
    }

    #[test]
    fn a_full_answer_moves_the_place_on() {
        let mut tail = Tail::after(0);
        assert!(
            tail.take((1..=1000).map(|n| line(n, "x")).collect(), true)
                .full
        );
        assert_eq!(tail.from(), 1000);
        let at_once = |n: i32| line(1000, &n.to_string());
        assert!(
            !tail.take((1..=1000).map(at_once).collect(), true).full,
            "reading on would not end"
        );
    }

    #[test]
    fn nothing_an_app_prints_moves_the_cursor() {
        for (text, want) in [
            ("plain\n", "plain"),
            ("\u{1b}[31mred\u{1b}[0m", "\u{1b}[31mred\u{1b}[0m"),
            ("a\u{1b}[2Jb\u{1b}]0;title\u{7}c", "ab]0;titlec"),
            ("10%\r20%\r\n", "20%"),
            ("tab\tstays\u{8}", "tab\tstays"),
        ] {
            assert_eq!(clean(text), want, "{text:?}");
        }
    }

    #[test]
    fn lines_look_like_cfs() {
        let mut one = line(1_764_000_000_123_456_789, "hi");
        one.tags.insert("source_type".into(), "APP/PROC/WEB".into());
        one.instance_id = "2".into();
        assert_eq!(
            format(&one),
            "2025-11-24T16:00:00.12Z [APP/PROC/WEB/2] OUT hi"
        );
    }
}
