//! Compiles source files that come without a build tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::artifact::Built;
use super::jdk::Jdk;
use crate::command;
use crate::contract::{BuildContext, BuildFailure};
use crate::source::Source;

const MAX_FILES: usize = 10_000;

pub(super) fn has_sources(source: &Source) -> bool {
    source.files().iter().any(|name| name.ends_with(".java"))
        || !source.find("src", ".java", 1).is_empty()
}

pub(super) fn build(context: &mut BuildContext<'_>, jdk: &Jdk) -> Result<Built, BuildFailure> {
    let root = context.source.root().to_owned();
    let tests = root.join("src/test");
    let sources: Vec<PathBuf> = context
        .source
        .find("", ".java", MAX_FILES)
        .into_iter()
        .filter(|path| !path.starts_with(&tests))
        .collect();
    fs::create_dir_all(root.join("target/classes"))
        .map_err(BuildFailure::io("create target/classes"))?;
    let list = root.join("target/sources.txt");
    fs::write(&list, argument_file(&root, &sources))
        .map_err(BuildFailure::io("write the list of source files"))?;

    let mut command = Command::new(jdk.home.join("bin/javac"));
    command
        .current_dir(&root)
        .env_clear()
        .envs(&context.env)
        .env("JAVA_HOME", &jdk.home);
    command.args([
        "-J-XX:TieredStopAtLevel=1",
        "-J-XX:+UseSerialGC",
        "-encoding",
        "UTF-8",
        "-d",
        "target/classes",
    ]);
    command.arg(format!(
        "-J-Xmx{}m",
        (context.memory.0 / 8 * 5).clamp(128, 2048)
    ));
    command.args(["-cp", "target/classes:lib/*", "@target/sources.txt"]);
    let shown = match sources.as_slice() {
        [only] => format!(
            "javac -d target/classes {}",
            only.strip_prefix(&root).unwrap_or(only).display()
        ),
        several => format!("javac -d target/classes ({} source files)", several.len()),
    };
    context.output.line(&format!("$ {shown}"));
    let result = command::run(context.output, &shown, command);
    fs::remove_file(list).map_err(BuildFailure::io("remove the list of source files"))?;
    result.map(|()| Built {
        modules: vec![PathBuf::new()],
        dependencies: false,
    })
}

/// One quoted path a line, in which a backslash escapes (JDK tool specifications, `javac`, argument files).
fn argument_file(root: &Path, sources: &[PathBuf]) -> String {
    let mut text = String::new();
    for source in sources {
        let path = source
            .strip_prefix(root)
            .unwrap_or(source)
            .to_string_lossy();
        text.push_str(&format!(
            "\"{}\"\n",
            path.replace('\\', "\\\\").replace('"', "\\\"")
        ));
    }
    text
}
