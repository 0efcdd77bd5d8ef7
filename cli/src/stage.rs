//! From a ready package to a droplet, with the build's output as it comes.

use std::time::{Duration, Instant};

use api_types::details::{INSUFFICIENT_RESOURCES, NO_APP_DETECTED};
use api_types::{Build, BuildState, CreateBuild, Ref};
use owo_colors::OwoColorize;
use serde_json::json;

use crate::context::Context;
use crate::error::{CliError, Exit, Outcome};
use crate::logs::{LogReader, Tail, source, text};
use crate::ui::seconds;

const PAUSE: Duration = Duration::from_millis(150);
/// Cloud Foundry ends a build after 900 s; the server says so by itself.
const LIMIT: Duration = Duration::from_secs(1200);
/// Failures to read logs in a row after which the build goes on without them, as in `cf`.
const MAX_LOG_FAILURES: u32 = 5;

/// Builds `package` and gives the droplet's GUID.
pub(crate) async fn stage(cx: &Context, app: &str, package: &str) -> Outcome<String> {
    let started = Instant::now();
    let mut output = Output::begin(cx, app).await;
    let request = CreateBuild {
        package: Ref::new(package),
        ..CreateBuild::default()
    };
    let build: Build = cx.client.post("/v3/builds", &request).await?;
    cx.ui.event("build.start", json!({"build": build.guid}))?;
    cx.ui.step("build", short(&build.guid).dimmed().to_string());
    let path = format!("/v3/builds/{}", build.guid);
    let done = loop {
        let build: Build = cx.client.get_patiently(&path).await?;
        output.print(cx).await?;
        if build.state != BuildState::Staging {
            break build;
        }
        if started.elapsed() > LIMIT {
            let message = format!("the build has not ended in {} min", LIMIT.as_secs() / 60);
            return Err(CliError::new("E-BUILD", Exit::Build, message));
        }
        tokio::time::sleep(PAUSE).await;
    };
    output.drain(cx).await?;
    let took = started.elapsed();
    match (done.state, done.droplet) {
        (BuildState::Staged, Some(droplet)) => {
            cx.ui.event(
                "build.done",
                json!({"build": done.guid, "droplet": droplet.guid, "seconds": took.as_secs_f64()}),
            )?;
            cx.ui.step(
                "built",
                format!(
                    "droplet {}  {}",
                    short(&droplet.guid),
                    seconds(took).dimmed()
                ),
            );
            Ok(droplet.guid)
        }
        (BuildState::Staged, None) => Err(CliError::other(
            "the server says the build succeeded and names no droplet",
        )),
        (_, _) => Err(failure(
            done.error.as_deref().unwrap_or_default(),
            &output.last_lines,
        )),
    }
}

fn short(guid: &str) -> &str {
    guid.get(..8).unwrap_or(guid)
}

/// Reads of the log after a build's end: the app's own lines come along, and may never end.
const MAX_LAST_READS: u32 = 20;

/// The build's lines in the app's log. A log that cannot be read does not fail the build.
struct Output<'a> {
    reader: Option<(LogReader<'a>, Tail)>,
    failures: u32,
    /// At most [`EVIDENCE_LINES`].
    last_lines: Vec<String>,
}

const EVIDENCE_LINES: usize = 20;

impl<'a> Output<'a> {
    async fn begin(cx: &'a Context, app: &str) -> Self {
        let reader = match LogReader::of_app(cx, app) {
            Ok(reader) => Tail::after_now(&reader).await.map(|tail| (reader, tail)),
            Err(error) => Err(error),
        };
        if let Err(error) = &reader {
            cx.ui.warn(format!(
                "the build's output cannot be shown: {}",
                error.message
            ));
        }
        Self {
            reader: reader.ok(),
            failures: 0,
            last_lines: vec![],
        }
    }

    /// Prints what is new; says whether more may be there already.
    async fn print(&mut self, cx: &Context) -> Outcome<bool> {
        let Some((reader, tail)) = &mut self.reader else {
            return Ok(false);
        };
        let batch = match tail.next(reader).await {
            Ok(batch) => batch,
            Err(error) if self.failures >= MAX_LOG_FAILURES => {
                cx.ui.warn(format!(
                    "the build's output cannot be shown any more: {}",
                    error.message
                ));
                self.reader = None;
                return Ok(false);
            }
            Err(_) => {
                self.failures += 1;
                return Ok(false);
            }
        };
        self.failures = 0;
        for line in batch.lines.iter().filter(|line| source(line) == "STG") {
            let text = text(line);
            cx.ui.event(
                "build.log",
                json!({"line": text, "time": crate::logs::time(line.timestamp)}),
            )?;
            cx.ui.say(format!("        {text}"));
            if self.last_lines.len() == EVIDENCE_LINES {
                self.last_lines.remove(0);
            }
            self.last_lines.push(text);
        }
        Ok(batch.full)
    }

    /// The rest, after the build has ended.
    async fn drain(&mut self, cx: &Context) -> Outcome {
        for _ in 0..MAX_LAST_READS {
            if !self.print(cx).await? {
                break;
            }
        }
        Ok(())
    }
}

/// A build's `error` → what people read. Lines of output that were just printed are not repeated with a text of several
/// lines, which brings its own evidence.
fn failure(text: &str, last_lines: &[String]) -> CliError {
    let (word, body) = match text.split_once(" - ") {
        Some((word, rest)) if word.chars().all(|c| c.is_ascii_alphanumeric()) => (word, rest),
        _ => ("", text),
    };
    let (code, exit, hints): (_, _, &[&str]) = match word {
        NO_APP_DETECTED => (
            "E-DETECT",
            Exit::Build,
            &[
                "slipway push -p FOLDER",
                "slipway push -b java",
                "slipway buildpacks",
            ],
        ),
        INSUFFICIENT_RESOURCES => (
            "E-CAPACITY",
            Exit::Quota,
            &[
                "slipway apps",
                "slipway stop APP  of an app that is not needed",
            ],
        ),
        _ => ("E-BUILD", Exit::Build, &[]),
    };
    let mut error = CliError::from_text(body, code, exit);
    // What names the way out needs no output of a tool.
    if error.evidence.is_empty() && error.hints.is_empty() {
        error = error.lines(last_lines.iter().cloned());
    }
    if error.hints.is_empty() {
        error
            .hints
            .extend(hints.iter().map(|hint| (*hint).to_owned()));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_build_names_its_cause_and_the_way_out() {
        let detect = failure(
            "NoAppDetectedError - no buildpack recognised this app\nlooked for pom.xml *.jar Procfile\nfound      README.md, service-a/",
            &["line".into()],
        );
        insta::assert_snapshot!(detect, @r"
        ✗ E-DETECT no buildpack recognised this app
          looked for pom.xml *.jar Procfile
          found      README.md, service-a/
          try        slipway push -p FOLDER  |  slipway push -b java  |  slipway buildpacks
        ");
        let failed = failure(
            "BuildpackCompileFailed - java: 'mvn package' ended with 1 after 9.4 s",
            &["[ERROR] Lisst".into()],
        );
        insta::assert_snapshot!(failed, @r"
        ✗ E-BUILD java: 'mvn package' ended with 1 after 9.4 s
          [ERROR] Lisst
        ");
        let full = failure("InsufficientResources - no cell has 1G free", &[]);
        assert_eq!((full.code.as_str(), full.exit_code()), ("E-CAPACITY", 12));
        let other = failure("StagingError - boom - bang", &[]);
        assert_eq!(
            (other.message.as_str(), other.exit_code()),
            ("boom - bang", 10)
        );
    }
}
