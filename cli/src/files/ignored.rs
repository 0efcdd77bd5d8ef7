//! `.cfignore`, read as `cf` reads it.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{CliError, Exit, Outcome};

/// What `cf` never sends, whatever `.cfignore` says.
const ALWAYS: [&str; 9] = [
    ".cfignore",
    ".DS_Store",
    ".git",
    ".gitignore",
    ".hg",
    ".svn",
    "_darcs",
    "manifest.yaml",
    "manifest.yml",
];

#[derive(Debug)]
pub(super) struct Ignored {
    rules: Gitignore,
}

impl Ignored {
    /// `text` is the content of `.cfignore`, where there is one.
    pub(super) fn new(text: &str) -> Outcome<Self> {
        let mut builder = GitignoreBuilder::new("");
        let wrong = |line: &str, error: &ignore::Error| {
            CliError::new(
                "E-FILES",
                Exit::Usage,
                format!(".cfignore has a line that cannot be read: {line}"),
            )
            .lines([error.to_string()])
        };
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            builder
                .add_line(None, line)
                .map_err(|error| wrong(line, &error))?;
        }
        for line in ALWAYS {
            builder
                .add_line(None, line)
                .map_err(|error| wrong(line, &error))?;
        }
        let rules = builder.build().map_err(|error| wrong("", &error))?;
        Ok(Self { rules })
    }

    /// Whether `path` (relative) or a folder above it is ignored, and no rule takes it back.
    pub(super) fn covers(&self, path: &Path, folder: bool) -> bool {
        self.rules
            .matched_path_or_any_parents(path, folder)
            .is_ignore()
    }

    /// Whether something inside an ignored folder may be taken back (`!dir/keep`), so that it has to be walked.
    pub(super) fn may_take_back(&self) -> bool {
        self.rules.num_whitelists() > 0
    }
}
