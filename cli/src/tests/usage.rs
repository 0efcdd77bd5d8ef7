//! Arguments, help texts and hints.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use crate::error::CliError;
use crate::ui::Ui;

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    let run = |args: &[&str]| crate::main(args.iter().map(OsString::from).collect());
    for (args, want) in [
        (&["slipway", "psuh"][..], 2),
        (&["slipway", "push", "-m", "512"], 2),
        (&["slipway", "push", "--env", "NOVALUE"], 2),
        (&["slipway", "scale"], 2),
        (&["slipway", "--json", "nonsense"], 2),
        (&["slipway", "--help"], 0),
        (&["slipway", "push", "--help"], 0),
        (&["slipway", "version"], 0),
        (&["slipway", "p", "--help"], 0),
        (&["slipway", "--json", "se"], 2),
    ] {
        assert_eq!(run(args), want, "{args:?}");
    }
}

/// `slipway push --json | grep -m1 …` does not say that the push went well; `slipway apps | head -1` is no failure.
#[test]
fn a_reader_who_leaves_work_unfinished_is_told_so_by_the_exit_code() {
    use clap::Parser;
    for (args, want) in [
        (&["push"][..], 141),
        (&["run-task", "x", "--wait"], 141),
        (&["run-task", "x"], 0),
        (&["apps"], 0),
        (&["logs", "x"], 0),
    ] {
        let line = [&["slipway"], args].concat();
        let command = crate::Top::try_parse_from(line).expect("usage").command;
        let error = CliError::broken_pipe();
        let code = crate::finish(&Ui::silent(), command.watched(), &error);
        assert_eq!(code, want, "{args:?}");
    }
}

#[test]
fn every_command_has_a_help_text_and_no_two_share_a_name() {
    let command = crate::command();
    command.clone().debug_assert();
    let mut names = std::collections::HashSet::new();
    for sub in command.get_subcommands() {
        assert!(sub.get_about().is_some(), "{} has no help", sub.get_name());
        for name in std::iter::once(sub.get_name()).chain(sub.get_all_aliases()) {
            assert!(names.insert(name.to_owned()), "{name} is there twice");
        }
        assert!(sub.get_arguments().all(|arg| arg.get_id() != "json") || sub.get_name() == "help");
    }
    for (short, full) in crate::commands::SHORT_NAMES {
        assert!(
            names.contains(*full) && names.insert((*short).to_owned()),
            "{short}"
        );
    }
    for verb in [
        "login",
        "target",
        "push",
        "apps",
        "app",
        "logs",
        "env",
        "set-env",
        "unset-env",
        "scale",
        "start",
        "stop",
        "restart",
        "delete",
        "cups",
        "bind-service",
        "unbind-service",
        "services",
        "routes",
    ] {
        assert!(names.contains(verb), "{verb}");
    }
}

/// Hints name only commands that exist.
#[test]
fn every_hinted_command_exists() {
    let known: std::collections::HashSet<String> = crate::command()
        .get_subcommands()
        .flat_map(|sub| std::iter::once(sub.get_name()).chain(sub.get_all_aliases()))
        .map(str::to_owned)
        // The platform's own roles, which the binary adds.
        .chain(["up", "down"].map(str::to_owned))
        .collect();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(&folder).expect("a folder") {
            let path = item.expect("an item").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.components().any(|part| part.as_os_str() == "tests")
                || path.ends_with("tests.rs")
            {
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            for (start, _) in text.match_indices("slipway ") {
                let word: String = text[start + 8..]
                    .chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                    .collect();
                let quoted = text[..start].ends_with(['"', ' ', '(', '\'']);
                if word.is_empty() || !quoted {
                    continue;
                }
                seen += 1;
                assert!(
                    known.contains(&word),
                    "{}: 'slipway {word}' does not exist",
                    path.display()
                );
            }
        }
    }
    assert!(seen > 40, "the search finds hints");
}
