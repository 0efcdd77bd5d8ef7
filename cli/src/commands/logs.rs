//! An app's logs, recent or as they come.

use std::time::Duration;

use api_types::{Envelope, LogKind};
use serde_json::json;

use crate::context::Context;
use crate::error::Outcome;
use crate::logs::{LogReader, MAX_LINES, Tail, format, source, text, time};

/// Show an app's logs, and follow them
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    pub(crate) app: String,
    /// Show what is there and stop
    #[arg(long)]
    pub(crate) recent: bool,
    /// Follow them, as without any flag
    #[arg(short, long, conflicts_with = "recent")]
    pub(crate) follow: bool,
}

/// `cf`'s pause between two reads.
const PAUSE: Duration = Duration::from_millis(250);
/// Failures in a row after which following ends, as in `cf`.
const MAX_FAILURES: u32 = 5;
/// What is shown before following begins.
const BEFORE: usize = 10;

impl Logs {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        cx.ui.begin_stream();
        let app = cx.app(&self.app).await?;
        let reader = LogReader::of_app(cx, &app.guid)?;
        let recent = reader
            .recent(if self.recent { MAX_LINES } else { BEFORE })
            .await?;
        print(cx, &recent)?;
        if self.recent {
            return Ok(());
        }
        cx.ui.say(format!("following {}; Ctrl-C ends it", app.name));
        let newest = recent.last().map(|line| line.timestamp);
        let mut tail = match newest {
            Some(newest) => Tail::after(newest),
            None => Tail::after_now(&reader).await?,
        };
        let mut failures = 0;
        loop {
            match tail.next(&reader).await {
                Ok(batch) => {
                    failures = 0;
                    print(cx, &batch.lines)?;
                }
                Err(error) if failures + 1 >= MAX_FAILURES || error.code == "E-LOGIN" => {
                    return Err(error);
                }
                Err(_) => failures += 1,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn print(cx: &Context, lines: &[Envelope]) -> Outcome {
    for line in lines {
        if cx.ui.json() {
            let stream = match line.log.as_ref().map(|log| log.kind) {
                Some(LogKind::Err) => "err",
                _ => "out",
            };
            cx.ui.event(
                "log",
                json!({"time": time(line.timestamp), "source": source(line), "instance": line.instance_id, "stream": stream,
                       "line": text(line)}),
            )?;
        } else {
            cx.ui.data(format(line))?;
        }
    }
    Ok(())
}
