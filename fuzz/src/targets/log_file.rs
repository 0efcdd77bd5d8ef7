//! A log file of an app. The first line is the time to begin or end at; the rest is the file.

use std::fs::File;
use std::io::Write as _;

use cells_agent::fuzz::{LogDirection, log_times};

pub(crate) fn run(bytes: &[u8]) {
    let (first, content) = super::split(bytes);
    let Ok(bound) = String::from_utf8_lossy(first).parse::<i64>() else {
        return;
    };
    let mut file = tempfile::tempfile().expect("temporary files can be made");
    file.write_all(content).expect("the file is ours");
    let times = |direction| {
        let file: File = file.try_clone().expect("descriptors are left");
        log_times(file, direction).expect("a plain file can be read")
    };
    let all = times(LogDirection::Forward { start_ns: i64::MIN });
    let mut backward = times(LogDirection::Backward { end_ns: None });
    backward.reverse();
    assert_eq!(backward, all, "both directions see the same records");
    let newer = times(LogDirection::Forward { start_ns: bound });
    let older = times(LogDirection::Backward {
        end_ns: Some(bound),
    });
    assert!(newer.len() <= all.len() && older.len() <= all.len());
    // Where all lines are records in their order, exactly the wanted ones are found; elsewhere, none too few of them.
    let mut lines = content.split_inclusive(|byte| *byte == b'\n');
    let as_written = |time: &i64| {
        let begin = format!("{time} ");
        lines
            .next()
            .is_some_and(|line| line.starts_with(begin.as_bytes()))
    };
    let sound = all.iter().all(as_written) && lines.next().is_none();
    if sound && all.is_sorted() && content.ends_with(b"\n") {
        let wanted = all
            .iter()
            .copied()
            .filter(|time| *time >= bound)
            .collect::<Vec<_>>();
        assert_eq!(newer, wanted, "from {bound} of {all:?}");
        assert_eq!(
            older.len() + newer.len(),
            all.len(),
            "before {bound} of {all:?}"
        );
    }
}
