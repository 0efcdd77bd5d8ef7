//! Merges the records of several files by time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;

use model::log::{LogLine, LogSource};
use model::protocol::cell::LogQuery;

use super::record::{Backward, Forward, Record};

pub(super) enum Cursor {
    Forward(Forward),
    Backward(Backward),
}

impl Cursor {
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        match self {
            Self::Forward(cursor) => cursor.next(),
            Self::Backward(cursor) => cursor.next(),
        }
    }
}

/// The next record of one file.
pub(super) struct Head {
    pub(super) record: Record,
    pub(super) cursor: Cursor,
    pub(super) source: LogSource,
    pub(super) index: u32,
}

/// A head whose order makes the heap give the wanted end first.
struct Ordered {
    head: Head,
    descending: bool,
}

pub(super) struct Merge {
    heads: BinaryHeap<Ordered>,
    descending: bool,
}

impl Merge {
    pub(super) fn new(descending: bool) -> Self {
        Self {
            heads: BinaryHeap::new(),
            descending,
        }
    }

    pub(super) fn push(&mut self, head: Head) {
        self.heads.push(Ordered {
            head,
            descending: self.descending,
        });
    }

    /// The next line within the query's bounds.
    pub(super) fn next(&mut self, query: &LogQuery) -> io::Result<Option<LogLine>> {
        let Some(Ordered { mut head, .. }) = self.heads.pop() else {
            return Ok(None);
        };
        let time_ns = head.record.time_ns;
        let beyond = if self.descending {
            time_ns < query.start_ns
        } else {
            query.end_ns.is_some_and(|end_ns| time_ns >= end_ns)
        };
        if beyond {
            return Ok(None);
        }
        let following = head.cursor.next()?;
        let line = LogLine {
            app: query.app,
            source: head.source.clone(),
            index: head.index,
            time_ns,
            stream: head.record.stream,
            bytes: std::mem::take(&mut head.record.bytes),
        };
        if let Some(record) = following {
            self.push(Head { record, ..head });
        }
        Ok(Some(line))
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = self.head.record.time_ns.cmp(&other.head.record.time_ns);
        if self.descending {
            by_time
        } else {
            by_time.reverse()
        }
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ordered {}
