//! What a command says when it could not do its work: what, evidence, and the next command to type.

use std::fmt;

use serde_json::{Value, json};

use crate::logs::clean;

/// Exit codes, as scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Exit {
    Ok = 0,
    Other = 1,
    /// Wrong usage, or a manifest that cannot be used.
    Usage = 2,
    /// Not logged in, or not allowed.
    Login = 4,
    NotFound = 5,
    Build = 10,
    /// The app did not start.
    Start = 11,
    /// Quota or capacity.
    Quota = 12,
    Conflict = 13,
    /// `curl --fail` with an answer that is an error; curl's own number.
    HttpError = 22,
    Unavailable = 69,
    TryAgain = 75,
    Interrupted = 130,
    /// Whoever read the output left before the end; what a shell tells of a program that SIGPIPE ended.
    Pipe = 141,
}

/// The one error of all commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CliError {
    /// `E-…`, for people and scripts to search for.
    pub(crate) code: String,
    pub(crate) message: String,
    /// Lines that show why, each as it is printed.
    pub(crate) evidence: Vec<String>,
    /// Commands to type, or things to do, next.
    pub(crate) hints: Vec<String>,
    pub(crate) exit: Exit,
    /// The exit status of what was run for the person; it wins over `exit`.
    status: Option<u8>,
}

pub(crate) type Outcome<T = ()> = Result<T, CliError>;

/// How the platform's line of hints begins, to the space: `try` begins lines of apps, too.
const HINTS: &str = "  try        ";

impl CliError {
    pub(crate) fn new(code: &str, exit: Exit, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            evidence: vec![],
            hints: vec![],
            exit,
            status: None,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new("E-USAGE", Exit::Usage, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new("E-NOTFOUND", Exit::NotFound, message)
    }

    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::new("E-FAILED", Exit::Other, message)
    }

    /// A file or folder of this machine that could not be used.
    pub(crate) fn file(path: &std::path::Path, doing: &str, error: &std::io::Error) -> Self {
        Self::new(
            "E-FILE",
            Exit::Other,
            format!("cannot {doing} {}: {error}", path.display()),
        )
    }

    /// The reader of stdout has gone, which is its right where nothing is left to be done.
    pub(crate) fn broken_pipe() -> Self {
        Self::new(
            "E-PIPE",
            Exit::Pipe,
            "nobody reads the output any more, so this command leaves; what the server already does goes on",
        )
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(
            "E-INTERRUPTED",
            Exit::Interrupted,
            "interrupted; what the server already does goes on",
        )
    }

    /// Takes apart a text that a server wrote for people: an optional `E-…`, the cause, lines of evidence, lines with hints.
    /// Lines of an app or a tool may be among the evidence, so nothing in them moves the cursor.
    pub(crate) fn from_text(text: &str, code: &str, exit: Exit) -> Self {
        let mut lines = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.trim().is_empty());
        let first = lines
            .next()
            .unwrap_or("no reason was given")
            .trim()
            .trim_start_matches("✗ ");
        let (own, message) = split_code(first);
        let mut error = Self::new(
            own.unwrap_or(code),
            own.map_or(exit, |own| exit_of(own).unwrap_or(exit)),
            clean(message),
        );
        for line in lines {
            match line.strip_prefix(HINTS) {
                Some(hints) => error
                    .hints
                    .extend(hints.split("  |  ").map(|hint| clean(hint.trim()))),
                None => error
                    .evidence
                    .push(clean(line.strip_prefix("  ").unwrap_or(line))),
            }
        }
        error
    }

    pub(crate) fn exiting(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Ends the client as the command ended that it ran for the person.
    pub(crate) fn with_status(mut self, status: u8) -> Self {
        self.status = Some(status);
        self
    }

    /// A line of evidence with the name of what it shows.
    pub(crate) fn evidence(mut self, label: &str, text: impl fmt::Display) -> Self {
        self.evidence.push(format!("{label:<10} {text}"));
        self
    }

    pub(crate) fn lines(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(lines);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    #[must_use]
    pub(crate) const fn exit_code(&self) -> i32 {
        match self.status {
            Some(status) => status as i32,
            None => self.exit as i32,
        }
    }

    #[must_use]
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "code": self.code, "message": self.message, "evidence": self.evidence, "hints": self.hints,
            "exit_code": self.exit_code(),
        })
    }
}

/// `✗ E-CODE message`, the evidence, and a line that begins with `try`.
impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "✗ {} {}", self.code, self.message)?;
        for line in &self.evidence {
            write!(f, "\n  {line}")?;
        }
        if !self.hints.is_empty() {
            let joined = self.hints.join("  |  ");
            let separator = if joined.chars().count() <= 100 {
                "  |  "
            } else {
                "\n             "
            };
            write!(f, "\n  try        {}", self.hints.join(separator))?;
        }
        Ok(())
    }
}

impl std::error::Error for CliError {}

fn split_code(line: &str) -> (Option<&str>, &str) {
    match line.split_once(' ') {
        Some((code, rest)) if is_code(code) => (Some(code), rest.trim_start()),
        _ => (None, line),
    }
}

fn is_code(word: &str) -> bool {
    word.strip_prefix("E-")
        .is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase()))
}

/// What a code that a server names means for scripts.
fn exit_of(code: &str) -> Option<Exit> {
    Some(match code {
        "E-MANIFEST" | "E-USAGE" | "E-TOOLARGE" => Exit::Usage,
        "E-LOGIN" | "E-CRED" | "E-ACCESS" => Exit::Login,
        "E-NOTFOUND" => Exit::NotFound,
        "E-DETECT" | "E-BUILD" => Exit::Build,
        "E-CRASH" | "E-PORT" | "E-OOM" | "E-START" => Exit::Start,
        "E-QUOTA" | "E-DISK" | "E-CAPACITY" => Exit::Quota,
        "E-ROUTE" | "E-CONFLICT" => Exit::Conflict,
        "E-SERVER" => Exit::Unavailable,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_cause_evidence_and_what_to_type() {
        let error = CliError::new(
            "E-PORT",
            Exit::Start,
            "nothing answered on $PORT (8080) in 60 s",
        )
        .evidence(
            "listening",
            "java pid 17 on 127.0.0.1:3000 (not 0.0.0.0, not 8080)",
        )
        .hint("listen on 0.0.0.0:$PORT")
        .hint("-t 120 for a slow start");
        insta::assert_snapshot!(error, @r"
        ✗ E-PORT nothing answered on $PORT (8080) in 60 s
          listening  java pid 17 on 127.0.0.1:3000 (not 0.0.0.0, not 8080)
          try        listen on 0.0.0.0:$PORT  |  -t 120 for a slow start
        ");
        assert_eq!(error.exit_code(), 11);
    }

    #[test]
    fn many_hints_stand_below_each_other() {
        let error = CliError::usage("x")
            .hint("slipway ".repeat(8))
            .hint("slipway ".repeat(8));
        assert_eq!(error.to_string().lines().count(), 3);
    }

    #[test]
    fn a_servers_text_is_taken_apart() {
        let text = "E-OOM web/0 killed: memory 512M reached\n  peak       512M\n  try        slipway push -m 768M  |  slipway app hello";
        let error = CliError::from_text(text, "E-CRASH", Exit::Start);
        assert_eq!((error.code.as_str(), error.exit), ("E-OOM", Exit::Start));
        assert_eq!(error.message, "web/0 killed: memory 512M reached");
        assert_eq!(error.evidence, ["peak       512M"]);
        assert_eq!(error.hints, ["slipway push -m 768M", "slipway app hello"]);
        let text = "exited with 1\n  try again later\n   try        rm -rf\n  \u{1b}[2Jgone";
        let error = CliError::from_text(text, "E-CRASH", Exit::Start);
        assert_eq!(
            error.evidence,
            ["try again later", " try        rm -rf", "gone"]
        );
        assert!(error.hints.is_empty(), "an app's words are none");
        let plain = CliError::from_text("E-mail is not set\n", "E-CRASH", Exit::Start);
        assert_eq!(
            (plain.code.as_str(), plain.message.as_str()),
            ("E-CRASH", "E-mail is not set")
        );
        assert_eq!(
            CliError::from_text("", "E-BUILD", Exit::Build).message,
            "no reason was given"
        );
    }
}
