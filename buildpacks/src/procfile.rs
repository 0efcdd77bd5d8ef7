//! The `Procfile`: start commands by process type, written by the app's author.

use std::collections::BTreeMap;

use crate::contract::{BuildContext, BuildFailure, BuildOutput, Buildpack, Detection};
use crate::source::Source;

const MAX_BYTES: u64 = 64 * 1024;
const MAX_PROCESS_TYPES: usize = 100;

/// Replaces process types by those of the Procfile. Alone, it makes an app of the files as they are.
#[derive(Debug)]
pub struct Procfile;

impl Buildpack for Procfile {
    fn name(&self) -> &'static str {
        "procfile"
    }

    fn version(&self) -> &'static str {
        "1.0"
    }

    fn builds(&self) -> bool {
        false
    }

    fn looks_for(&self) -> &'static [&'static str] {
        &["Procfile (start commands for files that need no build)"]
    }

    fn detect(&self, source: &Source) -> Detection {
        if source.has("Procfile") {
            Detection::Found("Procfile".into())
        } else {
            Detection::NotFound
        }
    }

    fn build(&self, context: &mut BuildContext<'_>) -> Result<BuildOutput, BuildFailure> {
        let Some(process_types) = of(&context.source)? else {
            return Err(BuildFailure::refused(
                "there is no Procfile at the root of the source",
                "add one with a line such as 'web: ./run --port $PORT'",
            ));
        };
        context
            .output
            .step(&format!("{} {}: Procfile", self.name(), self.version()));
        for (process_type, command) in &process_types {
            context.output.line(&format!("{process_type}: {command}"));
        }
        Ok(BuildOutput {
            detected: "Procfile".into(),
            process_types,
            ..BuildOutput::default()
        })
    }
}

/// The source's Procfile, if it has one.
pub(crate) fn of(source: &Source) -> Result<Option<BTreeMap<String, String>>, BuildFailure> {
    if !source.has("Procfile") {
        return Ok(None);
    }
    let Some(text) = source.text("Procfile", MAX_BYTES) else {
        return Err(BuildFailure::refused(
            "the Procfile is longer than 64 KiB",
            "keep one line per process type",
        ));
    };
    parse(&text).map(Some).map_err(|(line, message)| {
        BuildFailure::refused(
            format!("line {line} of the Procfile: {message}"),
            "each line is a process type, a colon and its command, such as 'web: java -jar target/app.jar'",
        )
    })
}

/// Heroku's grammar, a line `type: command` each, which keeps colons and `#` inside commands; and of the YAML that Cloud
/// Foundry reads: document markers, quoted keys and values, indentation, block scalars. An error is a line number, from 1,
/// and what is wrong there.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, (usize, String)> {
    let mut process_types = BTreeMap::new();
    let mut lines = text
        .trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        .peekable();
    while let Some((index, line)) = lines.next() {
        let entry = line.trim();
        if entry.is_empty() || entry.starts_with('#') || matches!(entry, "---" | "...") {
            continue;
        }
        let wrong = |message: &str| (index + 1, message.to_owned());
        let (name, value) = entry.split_once(':').ok_or_else(|| wrong("has no colon"))?;
        let name = unquoted(name.trim()).0;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 255 || !name.chars().all(fits) {
            return Err(wrong(
                "a process type has only letters, digits, '-', '_' and '.'",
            ));
        }
        let value = value.trim();
        let command = match value {
            "|" | "|-" | "|+" | ">" | ">-" | ">+" => {
                let mut block = Vec::new();
                let deeper = |next: &str| next.trim().is_empty() || indent(next) > indent(line);
                while let Some((_, next)) = lines.next_if(|(_, next)| deeper(next)) {
                    block.push(next.trim());
                }
                block
                    .join(if value.starts_with('|') { "\n" } else { " " })
                    .trim()
                    .to_owned()
            }
            _ => match unquoted(value) {
                (inner, Some('\'')) => inner.replace("''", "'"),
                (inner, Some(_)) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
                (plain, None) => plain.to_owned(),
            },
        };
        if command.is_empty() {
            return Err(wrong("has no command"));
        }
        if command.contains('\0') {
            return Err(wrong("holds a NUL byte"));
        }
        process_types.insert(name.to_owned(), command);
        if process_types.len() > MAX_PROCESS_TYPES {
            return Err(wrong("is one process type too many: 100 are allowed"));
        }
    }
    if process_types.is_empty() {
        return Err((1, "no process type is set".into()));
    }
    Ok(process_types)
}

/// What is inside a pair of quotes that spans the whole text. Quotes that end earlier are the shell's.
fn unquoted(text: &str) -> (&str, Option<char>) {
    for quote in ['"', '\''] {
        if let Some(inner) = text
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            let ends_inside = match quote {
                '\'' => inner.replace("''", "").contains('\''),
                _ => inner.replace("\\\\", "").replace("\\\"", "").contains('"'),
            };
            if !ends_inside {
                return (inner, Some(quote));
            }
        }
    }
    (text, None)
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_herokus_lines_and_cloud_foundrys_yaml_are_read() {
        for (text, want) in [
            ("web: java -jar x.jar\n", &[("web", "java -jar x.jar")][..]),
            ("web:java -jar x.jar", &[("web", "java -jar x.jar")]),
            ("web: a # b: c", &[("web", "a # b: c")]),
            (
                "# first\r\n\r\nweb: a\r\nwork-er_1.x:  b  \r\n",
                &[("web", "a"), ("work-er_1.x", "b")],
            ),
            (
                "---\nweb: \"java \\\"x\\\" -Da=b\"\n\"worker\": 'it''s'\n",
                &[("web", "java \"x\" -Da=b"), ("worker", "it's")],
            ),
            ("web: 'a' 'b'", &[("web", "'a' 'b'")]),
            (
                "web: \"$HOME/a b\" --x \"c\"",
                &[("web", "\"$HOME/a b\" --x \"c\"")],
            ),
            (
                "web: |\n  export A=1\n  exec a\nworker: >-\n  b\n  c\n",
                &[("web", "export A=1\nexec a"), ("worker", "b c")],
            ),
            ("web: a\nweb: b\n", &[("web", "b")]),
            ("\u{feff}  web: a\n", &[("web", "a")]),
        ] {
            let want: BTreeMap<_, _> = want
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(parse(text), Ok(want), "{text:?}");
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, line) in [
            ("", 1),
            ("# only\n", 1),
            ("web a", 1),
            ("web: a\n: b", 2),
            ("web: a\nw eb: b", 2),
            ("web:", 1),
            ("web: a\0", 1),
        ] {
            assert_eq!(parse(text).expect_err(text).0, line, "{text:?}");
        }
        let many: String = (0..101).map(|number| format!("p{number}: x\n")).collect();
        assert_eq!(parse(&many).expect_err("too many").0, 101);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}|[a-z:\"'|> \n#-]{0,80}") {
            let _ = parse(&text);
        }
    }
}
