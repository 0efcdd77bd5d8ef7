//! Log-cache's read API. Its readers refuse unknown fields, so the answers hold the envelope and nothing else.

use std::collections::BTreeMap;

use api_control::LogSelection;
use api_types::{Envelope, EnvelopeBatch, Log, LogCacheInfo, LogKind, ReadResponse};
use axum::Json;
use axum::extract::State;
use http::Uri;
use model::ids::AppId;
use model::log::{LogLine, OutputStream};

use crate::error::{ApiError, Outcome};
use crate::form;
use crate::request::{Api, Ask, Guid};

/// The version whose API this is. `cf` reads it as strict semver; without it, it would ask other paths.
const VERSION: &str = "3.0.0";
/// Log-cache's own default and limit.
const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

pub(crate) async fn info(State(_): State<Api>) -> Json<LogCacheInfo> {
    Json(LogCacheInfo {
        version: VERSION.into(),
        vm_uptime: "0".into(),
    })
}

pub(crate) async fn read(
    ask: Ask,
    Guid(app): Guid<AppId>,
    uri: Uri,
) -> Outcome<Json<ReadResponse>> {
    let wanted = Wanted::parse(uri.query().unwrap_or_default())?;
    if !wanted.logs {
        ask.control.app(&ask.actor, app).await?;
        return Ok(Json(ReadResponse::default()));
    }
    let lines = ask
        .control
        .read_logs(&ask.actor, app, wanted.selection)
        .await?;
    Ok(Json(ReadResponse {
        envelopes: EnvelopeBatch {
            batch: lines.into_iter().map(envelope).collect(),
        },
    }))
}

#[derive(Debug)]
struct Wanted {
    selection: LogSelection,
    /// Of the kinds of envelopes, there are only logs.
    logs: bool,
}

impl Wanted {
    fn parse(query: &str) -> Outcome<Self> {
        let pairs = form::decode(query).ok_or_else(|| ApiError::bad_query("it is not UTF-8"))?;
        let mut selection = LogSelection {
            start_ns: 0,
            end_ns: None,
            limit: DEFAULT_LIMIT,
            descending: false,
        };
        let mut kinds = Vec::new();
        for (key, value) in pairs {
            let invalid = || ApiError::bad_query(format!("'{key}' has a value that it can't have"));
            match key.as_str() {
                "start_time" => selection.start_ns = value.parse().map_err(|_| invalid())?,
                "end_time" => selection.end_ns = Some(value.parse().map_err(|_| invalid())?),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| *limit <= MAX_LIMIT);
                    selection.limit = limit.ok_or_else(invalid)?;
                }
                "descending" => selection.descending = value.parse().map_err(|_| invalid())?,
                "envelope_types" => kinds.extend(value.split(',').map(str::to_uppercase)),
                // Filters by metric name have nothing to do with logs.
                _ => {}
            }
        }
        if selection.limit == 0 {
            selection.limit = DEFAULT_LIMIT;
        }
        let logs = kinds.is_empty() || kinds.iter().any(|kind| kind == "LOG" || kind == "ANY");
        Ok(Self { selection, logs })
    }
}

#[cfg(feature = "fuzz")]
pub(crate) fn limit(query: &str) -> Option<u32> {
    Some(Wanted::parse(query).ok()?.selection.limit)
}

fn envelope(line: LogLine) -> Envelope {
    let kind = match line.stream {
        OutputStream::Out => LogKind::Out,
        OutputStream::Err => LogKind::Err,
    };
    Envelope {
        timestamp: line.time_ns,
        source_id: line.app.to_string(),
        instance_id: line.index.to_string(),
        deprecated_tags: BTreeMap::new(),
        tags: BTreeMap::from([("source_type".to_owned(), line.source.to_string())]),
        log: Some(Log {
            payload: line.bytes,
            kind,
        }),
    }
}

#[cfg(test)]
mod tests {
    use model::log::LogSource;

    use super::*;

    #[test]
    fn queries_of_cf_are_understood() {
        let recent =
            "descending=true&envelope_types=LOG&limit=1000&start_time=-6795364578871345152";
        let wanted = Wanted::parse(recent).expect("fine");
        assert!(wanted.logs && wanted.selection.descending);
        assert_eq!(
            (wanted.selection.start_ns, wanted.selection.limit),
            (-6_795_364_578_871_345_152, 1000)
        );
        assert!(Wanted::parse("limit=1").expect("fine").logs);
        assert!(
            !Wanted::parse("envelope_types=GAUGE&envelope_types=TIMER")
                .expect("fine")
                .logs
        );
        for bad in [
            "limit=1001",
            "limit=x",
            "start_time=9223372036854775808",
            "descending=maybe",
            "end_time=",
        ] {
            assert!(Wanted::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_keep_their_bytes_and_say_where_they_come_from() {
        let app = AppId::random();
        let line = LogLine {
            app,
            source: LogSource::App("web".into()),
            index: 2,
            time_ns: 7,
            stream: OutputStream::Err,
            bytes: vec![0xff, b'a'],
        };
        let shown = serde_json::to_string(&envelope(line)).expect("serialises");
        assert_eq!(
            shown.replace(&app.to_string(), "APP"),
            r#"{"timestamp":"7","source_id":"APP","instance_id":"2","deprecated_tags":{},"tags":{"source_type":"APP/PROC/WEB"},"log":{"payload":"/2E=","type":"ERR"}}"#
        );
    }
}
