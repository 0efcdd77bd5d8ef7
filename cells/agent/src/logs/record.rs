//! One log file: records sorted by time, one a line, read forwards or backwards from any time without reading the rest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use model::log::{LogLine, OutputStream};

/// A time, a stream letter and two spaces before the bytes.
const MAX_RECORD: usize = LogLine::MAX_BYTES + 32;
const BLOCK: usize = 16 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) time_ns: i64,
    pub(super) stream: OutputStream,
    pub(super) bytes: Vec<u8>,
}

impl Record {
    /// Reads a line without its line feed; none where it is not a record.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let time_ns = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let stream = match parts.next()? {
            b"O" => OutputStream::Out,
            b"E" => OutputStream::Err,
            _ => return None,
        };
        Some(Self {
            time_ns,
            stream,
            bytes: parts.next()?.to_vec(),
        })
    }
}

/// A log file, as long as it was when opened. Bytes after the last line feed belong to a record still being written.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    len: u64,
}

impl LogFile {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// Records from the first at or after `start_ns` on.
    pub(super) fn forward(self, start_ns: i64) -> io::Result<Forward> {
        let at = self.seek(start_ns)?;
        Ok(Forward {
            log: self,
            at,
            buffer: Vec::new(),
            used: 0,
        })
    }

    /// Records from the last before `end_ns` (or the last of all) backwards.
    pub(super) fn backward(self, end_ns: Option<i64>) -> io::Result<Backward> {
        let at = match end_ns {
            Some(end_ns) => self.seek(end_ns)?,
            None => self.len,
        };
        Ok(Backward {
            log: self,
            at,
            buffer: Vec::new(),
            whole: end_ns.is_some(),
        })
    }

    /// The offset of the first record at or after `time_ns`, by halving.
    fn seek(&self, time_ns: i64) -> io::Result<u64> {
        // `low` is always the start of a line whose predecessors are all too old.
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            let start = if middle == 0 {
                Some(0)
            } else {
                self.line_after(middle - 1)?
            };
            match start {
                // A line that is no record, or not yet a whole one, says nothing of the time: go on towards the older.
                Some(start) if start < high => {
                    match (self.time_at(start)?, self.line_after(start)?) {
                        (Some(time), Some(next)) if time < time_ns => low = next,
                        _ => high = middle,
                    }
                }
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The offset after the first line feed at or after `at`.
    fn line_after(&self, at: u64) -> io::Result<Option<u64>> {
        let mut block = [0; 512];
        let mut at = at;
        while at < self.len {
            let read = self.file.read_at(&mut block, at)?;
            if read == 0 {
                break;
            }
            if let Some(found) = block[..read].iter().position(|byte| *byte == b'\n') {
                return Ok(Some(at + found as u64 + 1).filter(|next| *next <= self.len));
            }
            at += read as u64;
        }
        Ok(None)
    }

    fn time_at(&self, at: u64) -> io::Result<Option<i64>> {
        let mut head = [0; 32];
        let read = self.file.read_at(&mut head, at)?;
        let digits = head[..read]
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        Ok(std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse().ok()))
    }
}

/// Reads towards newer records.
#[derive(Debug)]
pub(super) struct Forward {
    log: LogFile,
    /// Offset of the end of `buffer` in the file.
    at: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were given out.
    used: usize,
}

impl Forward {
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            let rest = &self.buffer[self.used..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let record = Record::parse(&rest[..end]);
                self.used += end + 1;
                if record.is_some() {
                    return Ok(record);
                }
                continue;
            }
            let overlong = rest.len() > MAX_RECORD;
            self.buffer.drain(..self.used);
            self.used = 0;
            if overlong {
                // No record is that long: skip what a foreign hand wrote, up to the next line feed.
                self.buffer.clear();
            }
            let wanted = usize::try_from(self.log.len.saturating_sub(self.at))
                .unwrap_or(BLOCK)
                .min(BLOCK);
            let filled = self.buffer.len();
            self.buffer.resize(filled + wanted, 0);
            let read = self.log.file.read_at(&mut self.buffer[filled..], self.at)?;
            self.buffer.truncate(filled + read);
            self.at += read as u64;
            if read == 0 {
                return Ok(None);
            }
        }
    }
}

/// Reads towards older records.
#[derive(Debug)]
pub(super) struct Backward {
    log: LogFile,
    /// Offset of the start of `buffer` in the file.
    at: u64,
    buffer: Vec<u8>,
    /// Whether the buffer ends right after a line feed.
    whole: bool,
}

impl Backward {
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            if let Some(line) = self.take_line() {
                if let Some(record) = Record::parse(&line) {
                    return Ok(Some(record));
                }
                continue;
            }
            if self.buffer.len() > MAX_RECORD {
                self.buffer.clear();
                self.whole = false;
            }
            let wanted = self.at.min(BLOCK as u64);
            if wanted == 0 {
                return Ok(None);
            }
            self.at -= wanted;
            let mut block = vec![0; usize::try_from(wanted).unwrap_or(BLOCK)];
            self.log.file.read_exact_at(&mut block, self.at)?;
            block.append(&mut self.buffer);
            self.buffer = block;
        }
    }

    /// Cuts the last line off the buffer, where its start is in it too.
    fn take_line(&mut self) -> Option<Vec<u8>> {
        if !self.whole {
            // Drop an unfinished last record.
            let end = self.buffer.iter().rposition(|byte| *byte == b'\n')?;
            self.buffer.truncate(end + 1);
            self.whole = true;
        }
        let body = self.buffer.len().checked_sub(1)?;
        let start = match self.buffer[..body].iter().rposition(|byte| *byte == b'\n') {
            Some(before) => before + 1,
            None if self.at == 0 => 0,
            None => return None,
        };
        let line = self.buffer[start..body].to_vec();
        self.buffer.truncate(start);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn log_file(content: &[u8]) -> LogFile {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        LogFile::new(file).unwrap()
    }

    fn times_forward(content: &[u8], start_ns: i64) -> Vec<i64> {
        let mut reader = log_file(content).forward(start_ns).unwrap();
        std::iter::from_fn(|| reader.next().unwrap())
            .map(|record| record.time_ns)
            .collect()
    }

    fn times_backward(content: &[u8], end_ns: Option<i64>) -> Vec<i64> {
        let mut reader = log_file(content).backward(end_ns).unwrap();
        std::iter::from_fn(|| reader.next().unwrap())
            .map(|record| record.time_ns)
            .collect()
    }

    #[test]
    fn every_start_and_end_finds_exactly_its_records() {
        // Lines of very different length, among them the longest there may be, and an unfinished one at the end.
        let mut content = Vec::new();
        for time in (10..400).step_by(10) {
            let length = if time % 70 == 0 {
                LogLine::MAX_BYTES
            } else {
                (time as usize * 37) % 900
            };
            content.extend_from_slice(format!("{time} O {}\n", "x".repeat(length)).as_bytes());
        }
        content.extend_from_slice(b"400 O unfinished");
        let all: Vec<i64> = (10..400).step_by(10).collect();
        for bound in [-5, 0, 9, 10, 11, 70, 135, 140, 141, 389, 390, 391, 9999] {
            let newer: Vec<_> = all.iter().copied().filter(|time| *time >= bound).collect();
            let older: Vec<_> = all
                .iter()
                .rev()
                .copied()
                .filter(|time| *time < bound)
                .collect();
            assert_eq!(times_forward(&content, bound), newer, "from {bound}");
            assert_eq!(
                times_backward(&content, Some(bound)),
                older,
                "before {bound}"
            );
        }
        assert_eq!(
            times_backward(&content, None),
            all.into_iter().rev().collect::<Vec<_>>()
        );
    }

    #[test]
    fn foreign_bytes_are_skipped() {
        let content = [
            b"1 O a\ngarbage\n\n2 X b\n".as_slice(),
            &[b'y'; 200_000],
            b"\n3 E c d\n",
        ]
        .concat();
        assert_eq!(times_forward(&content, i64::MIN), [1, 3]);
        assert_eq!(times_backward(&content, None), [3, 1]);
        assert!(times_forward(b"", 0).is_empty() && times_backward(b"", None).is_empty());
    }

    #[test]
    fn bytes_come_back_as_they_were() {
        let mut reader = log_file(b"5 E  two  spaces \xff\r\n").forward(0).unwrap();
        let record = reader.next().unwrap().unwrap();
        assert_eq!(
            (record.stream, record.bytes.as_slice()),
            (OutputStream::Err, b" two  spaces \xff\r".as_slice())
        );
    }
}
