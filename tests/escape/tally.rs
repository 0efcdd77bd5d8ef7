//! The probe's lines, counted.

use std::collections::HashSet;

use crate::probe::MARK;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    refused: usize,
    contained: usize,
    escaped: Vec<String>,
    /// A build that failed shows its last lines twice.
    seen: HashSet<String>,
}

impl Tally {
    /// Counts the probe's lines in a text, which may hold others, and shows each.
    pub(crate) fn count(&mut self, text: &str) {
        let lines = text.lines().filter_map(|line| line.split_once(MARK));
        for (_, line) in lines {
            if !self.seen.insert(line.to_owned()) {
                continue;
            }
            match line.split(' ').next() {
                Some("refused") => self.refused += 1,
                Some("contained") => self.contained += 1,
                _ => self.escaped.push(line.to_owned()),
            }
            println!("  {line}");
        }
    }

    pub(crate) fn contained(&mut self, what: &str) {
        self.count(&format!("{MARK}contained {what}"));
    }

    pub(crate) fn escaped(&mut self, what: &str) {
        self.count(&format!("{MARK}ESCAPED {what}"));
    }

    const fn attempts(&self) -> usize {
        self.refused + self.contained + self.escaped.len()
    }

    /// Prints the counts. Fails where something escaped, or where so little was tried that the probe cannot have worked.
    pub(crate) fn close(self, part: &str, at_least: usize) {
        println!(
            "escape suite ({part}): {} attempts, {} refused, {} contained, {} escaped",
            self.attempts(),
            self.refused,
            self.contained,
            self.escaped.len()
        );
        assert!(self.escaped.is_empty(), "{part}: {:#?}", self.escaped);
        assert!(
            self.attempts() >= at_least,
            "{part}: only {} of {at_least} attempts were made",
            self.attempts()
        );
    }
}
