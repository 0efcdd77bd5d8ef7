//! `.cfignore`: the first line is a path to ask for, the rest the rules.

use std::path::{Component, Path};

pub(crate) fn run(bytes: &[u8]) {
    let (path, rules) = super::split(bytes);
    let (Ok(path), Ok(rules)) = (std::str::from_utf8(path), std::str::from_utf8(rules)) else {
        return;
    };
    let path = Path::new(path);
    if !path
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        return;
    }
    if let Ok(ignored) = cli::fuzz::ignored(rules, path, false) {
        let again = cli::fuzz::ignored(rules, path, false).expect("it was read once");
        assert_eq!(ignored, again);
    }
    let never_sent = Path::new("a/.git");
    if let Ok(ignored) = cli::fuzz::ignored(rules, never_sent, true) {
        assert!(ignored, "no rule can add what is never sent");
    }
}
