//! Output of the container, written line by line into `logs/current`; the format is documented in the engine's `logs`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

mod rate;

use rate::{Rate, Verdict};

/// Where Diego's log streamer splits a message; the same number as `model::log::LogLine::MAX_BYTES`.
const MAX_LINE_BYTES: usize = 61_440;

const CURRENT: &str = "current";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Cuts one stream into lines.
#[derive(Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

/// Appends records and rotates. Failing writes lose output; they never stop the container.
pub(crate) struct LogWriter {
    dir: PathBuf,
    /// None where the last rotation could not open it anew. Lines are dropped then, since the file before is full.
    file: Option<File>,
    size: u64,
    max_file_bytes: u64,
    last_ns: i64,
    total_bytes: u64,
    rate: Option<Rate>,
    began: Instant,
}

impl LogWriter {
    /// `max_rate` is in bytes per second; without one all lines are kept.
    pub(crate) fn create(
        dir: &Path,
        max_log_bytes: u64,
        max_rate: Option<u64>,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let file = open(&dir.join(CURRENT))?;
        let size = file.metadata()?.len();
        let max_file_bytes = (max_log_bytes / 2).max(1);
        Ok(Self {
            dir: dir.to_owned(),
            file: Some(file),
            size,
            max_file_bytes,
            last_ns: 0,
            total_bytes: 0,
            rate: max_rate.map(Rate::new),
            began: Instant::now(),
        })
    }

    /// All output bytes so far, without the records' own overhead.
    pub(crate) const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Takes `bytes` from a stream and writes the lines that are complete with them.
    pub(crate) fn feed(&mut self, stream: Stream, lines: &mut Lines, bytes: &[u8]) {
        self.total_bytes += bytes.len() as u64;
        let mut batch = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (mut text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            while lines.partial.len() + text.len() > MAX_LINE_BYTES {
                let (head, rest) = text.split_at(MAX_LINE_BYTES - lines.partial.len());
                lines.partial.extend_from_slice(head);
                text = rest;
                self.line(&mut batch, stream, &std::mem::take(&mut lines.partial));
            }
            lines.partial.extend_from_slice(text);
            if ended {
                self.line(&mut batch, stream, &std::mem::take(&mut lines.partial));
            }
        }
        self.write(&batch);
    }

    /// Writes what is left of a stream that ended without a line feed.
    pub(crate) fn finish(&mut self, stream: Stream, lines: &mut Lines) {
        if !lines.partial.is_empty() {
            let mut batch = Vec::new();
            self.line(&mut batch, stream, &std::mem::take(&mut lines.partial));
            self.write(&batch);
        }
    }

    /// Records a line if the rate allows it; its line feed counts, or empty lines would be free.
    fn line(&mut self, batch: &mut Vec<u8>, stream: Stream, line: &[u8]) {
        let verdict = match &mut self.rate {
            Some(rate) => rate.judge(self.began.elapsed(), line.len() + 1),
            None => Verdict::Keep,
        };
        match verdict {
            Verdict::Keep => self.record(batch, stream, line),
            Verdict::Drop => {}
            Verdict::DropAndTell => {
                let sentence = self.rate.as_ref().map(Rate::sentence).unwrap_or_default();
                self.record(batch, Stream::Out, sentence.as_bytes());
            }
        }
    }

    fn record(&mut self, batch: &mut Vec<u8>, stream: Stream, line: &[u8]) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos());
        self.last_ns = i64::try_from(now).unwrap_or(i64::MAX).max(self.last_ns + 1);
        let letter = match stream {
            Stream::Out => 'O',
            Stream::Err => 'E',
        };
        let start = batch.len();
        batch.extend_from_slice(format!("{} {letter} ", self.last_ns).as_bytes());
        batch.extend_from_slice(line);
        batch.push(b'\n');
        let record = (batch.len() - start) as u64;
        if self.size > 0 && self.size + record > self.max_file_bytes {
            let next = batch.split_off(start);
            self.write(batch);
            *batch = next;
            self.rotate();
        }
        self.size += record;
    }

    fn rotate(&mut self) {
        let current = self.dir.join(CURRENT);
        let moved = match std::fs::rename(&current, self.dir.join("previous")) {
            // An earlier rotation got this far and no further.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => moved,
        };
        self.file = moved.and_then(|()| open(&current)).ok();
        self.size = 0;
    }

    fn write(&mut self, batch: &[u8]) {
        if self.file.is_none() && !batch.is_empty() {
            self.rotate();
        }
        if let Some(file) = &mut self.file {
            // A full disk loses lines; there is nobody to tell, and the app must not block or die of it.
            let _ = file.write_all(batch);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(path: &Path) -> Vec<(i64, String, Vec<u8>)> {
        let bytes = std::fs::read(path).expect("log file");
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let mut parts = line.splitn(3, |byte| *byte == b' ');
                let mut next = || parts.next().expect("three parts").to_vec();
                let time = String::from_utf8(next())
                    .expect("digits")
                    .parse()
                    .expect("a number");
                (time, String::from_utf8(next()).expect("a letter"), next())
            })
            .collect()
    }

    #[test]
    fn lines_are_records_with_strictly_increasing_times() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = LogWriter::create(dir.path(), 1 << 20, None).expect("log");
        let (mut out, mut err) = (Lines::default(), Lines::default());
        log.feed(Stream::Out, &mut out, b"one\n\ntw");
        log.feed(Stream::Err, &mut err, b"bad\xff\n");
        log.feed(Stream::Out, &mut out, b"o\nend");
        log.finish(Stream::Out, &mut out);
        let got = records(&dir.path().join("current"));
        assert!(got.windows(2).all(|pair| pair[0].0 < pair[1].0), "{got:?}");
        let got: Vec<_> = got
            .iter()
            .map(|(_, stream, bytes)| (stream.as_str(), bytes.as_slice()))
            .collect();
        let want: [(&str, &[u8]); 5] = [
            ("O", b"one"),
            ("O", b""),
            ("E", b"bad\xff"),
            ("O", b"two"),
            ("O", b"end"),
        ];
        assert_eq!(got, want);
        assert_eq!(log.total_bytes(), 7 + 5 + 5);
    }

    #[test]
    fn a_long_line_arrives_as_several_and_loses_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = LogWriter::create(dir.path(), 1 << 22, None).expect("log");
        let mut lines = Lines::default();
        let long: Vec<u8> = (0..2 * MAX_LINE_BYTES + 5)
            .map(|at| b'a' + (at % 26) as u8)
            .collect();
        for chunk in long.chunks(10_000) {
            log.feed(Stream::Out, &mut lines, chunk);
        }
        log.feed(Stream::Out, &mut lines, b"\n");
        let got = records(&dir.path().join("current"));
        assert_eq!(
            got.iter().map(|record| record.2.len()).collect::<Vec<_>>(),
            [MAX_LINE_BYTES, MAX_LINE_BYTES, 5]
        );
        assert_eq!(
            got.into_iter()
                .flat_map(|record| record.2)
                .collect::<Vec<_>>(),
            long
        );
    }

    #[test]
    fn two_files_stay_within_the_budget() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = LogWriter::create(dir.path(), 4096, None).expect("log");
        let mut lines = Lines::default();
        for number in 0..1000 {
            log.feed(
                Stream::Out,
                &mut lines,
                format!("line {number}\n").repeat(3).as_bytes(),
            );
        }
        let size = |name: &str| {
            std::fs::metadata(dir.path().join(name))
                .expect("file")
                .len()
        };
        assert!(size("current") <= 2048 && size("previous") <= 2048 && size("previous") > 1500);
        assert_eq!(
            records(&dir.path().join("current"))
                .last()
                .expect("a record")
                .2,
            b"line 999"
        );
    }

    #[test]
    fn empty_lines_count_towards_the_rate_too() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = LogWriter::create(dir.path(), 1 << 20, Some(100)).expect("log");
        log.feed(Stream::Out, &mut Lines::default(), &[b'\n'; 60_000]);
        let kept = records(&dir.path().join("current"));
        assert!(kept.len() < 60_000, "{}", kept.len());
        assert!(
            kept.iter()
                .any(|record| record.2.starts_with(b"app instance exceeded"))
        );
    }

    #[test]
    fn a_rotation_that_fails_keeps_the_budget_and_lines_come_back_with_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut log = LogWriter::create(dir.path(), 4096, None).expect("log");
        let mut lines = Lines::default();
        let mut say = |log: &mut LogWriter, text: &str| {
            for _ in 0..300 {
                log.feed(Stream::Out, &mut lines, text.as_bytes());
            }
        };
        say(&mut log, "before\n");
        // As with a disk that has no room for one more file.
        log.dir = dir.path().join("gone");
        say(&mut log, "lost\n");
        let kept = |name: &str| {
            let file = std::fs::metadata(dir.path().join(name)).expect("file");
            file.len() <= 2048
        };
        assert!(kept("current") && kept("previous"));
        log.dir = dir.path().to_owned();
        say(&mut log, "after\n");
        assert!(kept("current") && kept("previous"));
        let last = records(&dir.path().join("current")).pop();
        assert_eq!(last.expect("a record").2, b"after");
    }
}
