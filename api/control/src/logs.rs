//! Log lines, fetched from the cells that hold them.

use std::time::Duration;

use bytes::BytesMut;
use model::ids::AppId;
use model::log::LogLine;
use model::protocol::cell::{LogQuery, StreamRequest};

use crate::fleet::Fleet;
use crate::{Actor, Control, Result};

/// How long a cell may take to begin and to go on with its lines; a cell that does not answer is left out.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most lines of one answer, as in log-cache.
const MAX_LINES: u32 = 1000;
/// A line's JSON: base64 of at most [`LogLine::MAX_BYTES`] and its frame.
const MAX_JSON_BYTES: usize = LogLine::MAX_BYTES * 2;

/// Which lines of an app are wanted.
#[derive(Debug, Clone, Copy)]
pub struct LogSelection {
    /// Inclusive, ns since the Unix epoch; may be negative.
    pub start_ns: i64,
    /// Exclusive.
    pub end_ns: Option<i64>,
    pub limit: u32,
    pub descending: bool,
}

impl Control {
    /// Lines of one app, in the order that was asked for.
    pub async fn read_logs(
        &self,
        actor: &Actor,
        app: AppId,
        selection: LogSelection,
    ) -> Result<Vec<LogLine>> {
        self.app(actor, app).await?;
        let limit = selection.limit.clamp(1, MAX_LINES);
        let query = LogQuery {
            app,
            start_ns: selection.start_ns,
            end_ns: selection.end_ns,
            limit,
            descending: selection.descending,
        };
        let streams = self.fleet().open_streams(&StreamRequest::Logs(query));
        let answers = streams
            .into_iter()
            .map(|(stream, chunks)| lines(self.fleet(), stream, chunks, limit));
        let mut all = futures_util::future::join_all(answers)
            .await
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        all.sort_by_key(|line| line.time_ns);
        if selection.descending {
            all.reverse();
        }
        all.truncate(limit as usize);
        Ok(all)
    }
}

async fn lines(
    fleet: &Fleet,
    stream: model::ids::StreamId,
    chunks: tokio::sync::oneshot::Receiver<tokio::sync::mpsc::Receiver<bytes::Bytes>>,
    limit: u32,
) -> Vec<LogLine> {
    let Ok(Ok(mut chunks)) = tokio::time::timeout(PATIENCE, chunks).await else {
        fleet.give_up_stream(stream);
        return Vec::new();
    };
    let mut lines = Vec::new();
    let mut rest = BytesMut::new();
    while let Ok(Some(chunk)) = tokio::time::timeout(PATIENCE, chunks.recv()).await {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.split_to(end + 1);
            match serde_json::from_slice(&line[..end]) {
                Ok(line) => lines.push(line),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a cell sent an unreadable log line"
                ),
            }
            if lines.len() >= limit as usize {
                return lines;
            }
        }
        if rest.len() > MAX_JSON_BYTES {
            break;
        }
    }
    lines
}
