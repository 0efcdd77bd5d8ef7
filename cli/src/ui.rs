//! What people and scripts see: data on stdout, talk on stderr, JSON where it was asked for.

mod table;

use std::collections::HashSet;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::AutoStream;
use owo_colors::OwoColorize;
use serde_json::Value;

use crate::error::{CliError, Outcome};

pub(crate) use table::Table;

/// A cheap handle to the terminal. Colours vanish where nobody sees them, or where `NO_COLOR` is set.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    json: bool,
    /// Nothing is written: for tests, whose output is not captured below the standard macros.
    silent: bool,
    stream: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the command prints events, so that its failure is one more of them.
    streaming: bool,
    warned: HashSet<String>,
}

impl Ui {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                json,
                silent: false,
                stream: Mutex::default(),
            }),
        }
    }

    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self {
            inner: Arc::new(Inner {
                json: false,
                silent: true,
                stream: Mutex::default(),
            }),
        }
    }

    /// From here on [`Ui::event`] prints; without this it does not, and the command answers with one object.
    pub(crate) fn begin_stream(&self) {
        self.state().streaming = true;
    }

    pub(crate) fn json(&self) -> bool {
        self.inner.json
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner
            .stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of data on stdout.
    pub(crate) fn data(&self, line: impl AsRef<str>) -> Outcome {
        let out = AutoStream::auto(std::io::stdout().lock());
        self.print(out, format!("{}\n", line.as_ref()).as_bytes())
    }

    /// Bytes on stdout, as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Outcome {
        self.print(std::io::stdout().lock(), bytes)
    }

    fn print(&self, mut out: impl Write, bytes: &[u8]) -> Outcome {
        if self.inner.silent {
            return Ok(());
        }
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(|error| match error.kind() {
                ErrorKind::BrokenPipe => CliError::broken_pipe(),
                _ => CliError::other(format!("cannot write to stdout: {error}")),
            })
    }

    /// A line of talk on stderr; silent with `--json`.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        if !self.inner.json {
            self.stderr(line.as_ref());
        }
    }

    /// `label   text`, the form of push's report.
    pub(crate) fn step(&self, label: &str, text: impl AsRef<str>) {
        self.say(format!(
            "{} {}",
            format!("{label:<7}").bold(),
            text.as_ref()
        ));
    }

    /// A warning, once however often it is given.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let fresh = self.state().warned.insert(text.to_owned());
        if !fresh {
            return;
        }
        if self.inner.json {
            self.stderr(&serde_json::json!({"event": "warning", "message": text}).to_string());
        } else {
            self.stderr(&format!("{} {text}", "!".yellow().bold()));
        }
    }

    /// Whether a warning with `part` in it was given.
    pub(crate) fn has_warned_of(&self, part: &str) -> bool {
        self.state()
            .warned
            .iter()
            .any(|warning| warning.contains(part))
    }

    fn stderr(&self, line: &str) {
        if self.inner.silent {
            return;
        }
        // Nothing can be said where stderr is closed, and nothing depends on it.
        let _ = writeln!(AutoStream::auto(std::io::stderr().lock()), "{line}");
    }

    /// With `--json`, in a command that prints a stream, one event on a line of its own; else nothing.
    pub(crate) fn event(&self, name: &str, mut fields: Value) -> Outcome {
        if !self.inner.json || !self.state().streaming {
            return Ok(());
        }
        if let Some(map) = fields.as_object_mut() {
            map.insert("event".into(), name.into());
        }
        self.data(fields.to_string())
    }

    /// With `--json`, the one object of a command; else what `human` prints.
    pub(crate) fn answer(
        &self,
        json: impl FnOnce() -> Value,
        human: impl FnOnce(&Self) -> Outcome,
    ) -> Outcome {
        if self.inner.json {
            self.data(json().to_string())
        } else {
            human(self)
        }
    }

    /// The end of a command that failed.
    pub(crate) fn fail(&self, error: &CliError) {
        if self.inner.json {
            let streaming = self.state().streaming;
            let object = if streaming {
                serde_json::json!({"event": "result", "ok": false, "error": error.to_json()})
            } else {
                serde_json::json!({"error": error.to_json()})
            };
            let _ = self.data(object.to_string());
            return;
        }
        let text = error.to_string();
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let first = first.strip_prefix("✗ ").unwrap_or(first);
        let (code, message) = first.split_once(' ').unwrap_or((first, ""));
        self.stderr(&format!(
            "{} {} {message}",
            "✗".red().bold(),
            code.red().bold()
        ));
        if !rest.is_empty() {
            self.stderr(rest);
        }
    }

    /// Whether a person can answer questions.
    pub(crate) fn is_interactive(&self) -> bool {
        !self.inner.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks for a line. The answer is trimmed; none where nobody can answer, or where the input ends.
    pub(crate) async fn ask(&self, question: &str) -> Outcome<Option<String>> {
        if !self.is_interactive() {
            return Ok(None);
        }
        // Its lock must not be held while waiting: Ctrl-C is told there.
        let _ = write!(std::io::stderr(), "{question}: ").and_then(|()| std::io::stderr().flush());
        // On a thread that the end of the process leaves behind, so that Ctrl-C is seen at once.
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line)?;
            Ok((read > 0).then(|| line.trim().to_owned()))
        });
        answer
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|error| unanswered(&error))
    }

    /// Asks for a secret, which is not echoed; none where nobody can answer, or where the input ends.
    pub(crate) fn ask_secret(&self, question: &str) -> Outcome<Option<String>> {
        if !self.is_interactive() {
            return Ok(None);
        }
        // In the way of everything else: the terminal passes Ctrl-C on as a character here, and shows what is typed
        // again only when this returns.
        match rpassword::prompt_password(format!("{question}: ")) {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(unanswered(&error)),
        }
    }

    /// Asks before something that cannot be undone. Where nobody can answer, the flag is needed.
    pub(crate) async fn confirm(&self, question: &str, flag: &str) -> Outcome<bool> {
        if !self.is_interactive() {
            let message = format!("{question} Nobody is here to answer");
            return Err(CliError::usage(message).hint(format!("the same with {flag}")));
        }
        let answer = self.ask(&format!("{question} [yN]")).await?;
        let answer = answer.unwrap_or_default().to_ascii_lowercase();
        Ok(matches!(answer.as_str(), "y" | "yes"))
    }
}

fn unanswered(error: &std::io::Error) -> CliError {
    match error.kind() {
        ErrorKind::Interrupted => CliError::interrupted(),
        _ => CliError::other(format!("cannot read the answer from the terminal: {error}")),
    }
}

/// `512M`, `1G`, `34.6M`, in binary units.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "T"),
        (1 << 30, "G"),
        (1 << 20, "M"),
        (1 << 10, "K"),
    ];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let tenths = bytes.saturating_mul(10) / unit;
            return if tenths.is_multiple_of(10) || tenths >= 1000 {
                format!("{}{name}", tenths / 10)
            } else {
                format!("{}.{}{name}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes}B")
}

/// `0.3 s`, `16 s`.
pub(crate) fn seconds(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}

/// A longer time in its largest unit: `90 s`, `15 min`, `3 h`, `4 days`.
pub(crate) fn rough(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_binary() {
        for (bytes, want) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1K"),
            (1536, "1.5K"),
            (512 << 20, "512M"),
            (36_280_730, "34.6M"),
            (1 << 30, "1G"),
            (u64::MAX, "1677721T"),
        ] {
            assert_eq!(size(bytes), want, "{bytes}");
        }
    }
}
