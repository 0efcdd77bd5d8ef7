//! Logs of one app with several instances, in a folder.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use model::ids::AppId;

use super::super::LogMeta;
use super::*;
use crate::config::Budgets;

struct World {
    folder: tempfile::TempDir,
    logs: Logs,
    app: AppId,
}

impl World {
    fn new(budgets: Budgets) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::open(
            folder.path().join("logs"),
            folder.path().join("containers"),
            budgets,
        )
        .unwrap();
        Self {
            folder,
            logs,
            app: AppId::random(),
        }
    }

    fn set(&self, name: &str, index: u32) -> Arc<LogSet> {
        let source = LogSource::App("web".into());
        let notes = LogSource::Cell;
        self.logs
            .begin(LogMeta {
                app: self.app,
                source,
                notes,
                index,
                name: name.into(),
            })
            .unwrap()
    }

    fn write(&self, name: &str, file: &str, lines: &str) {
        let folder = self
            .folder
            .path()
            .join("containers")
            .join(name)
            .join("logs");
        fs::create_dir_all(&folder).unwrap();
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(file))
            .unwrap();
        file.write_all(lines.as_bytes()).unwrap();
    }

    fn rotate(&self, name: &str) {
        let folder = self
            .folder
            .path()
            .join("containers")
            .join(name)
            .join("logs");
        fs::rename(folder.join("current"), folder.join("previous")).unwrap();
    }

    fn query(
        &self,
        start_ns: i64,
        end_ns: Option<i64>,
        limit: u32,
        descending: bool,
    ) -> Vec<String> {
        let query = LogQuery {
            app: self.app,
            start_ns,
            end_ns,
            limit,
            descending,
        };
        let mut lines = Vec::new();
        read(&self.logs, &query, |line| {
            lines.push(format!(
                "{} {}/{} {}",
                line.time_ns,
                line.source,
                line.index,
                String::from_utf8_lossy(&line.bytes)
            ));
            Reading::Continue
        })
        .unwrap();
        lines
    }

    fn texts(&self) -> Vec<String> {
        let last = |line: String| line.rsplit(' ').next().unwrap().to_owned();
        self.query(0, None, 100, false)
            .into_iter()
            .map(last)
            .collect()
    }
}

#[test]
fn lines_of_all_instances_merge_by_time() {
    let world = World::new(Budgets::default());
    let (_a, _b) = (world.set("a", 0), world.set("b", 1));
    world.write("a", "previous", "10 O a1\n20 O a2\n");
    world.write("a", "current", "40 E a3\n");
    world.write("b", "current", "15 O b1\n30 O b2\n50 O b3\n");
    let all = [
        "10 APP/PROC/WEB/0 a1",
        "15 APP/PROC/WEB/1 b1",
        "20 APP/PROC/WEB/0 a2",
        "30 APP/PROC/WEB/1 b2",
        "40 APP/PROC/WEB/0 a3",
        "50 APP/PROC/WEB/1 b3",
    ];
    let backwards: Vec<_> = all.iter().rev().copied().collect();
    assert_eq!(world.query(0, None, 100, false), all);
    assert_eq!(world.query(i64::MIN, None, 100, true), backwards);
    assert_eq!(world.query(0, None, 2, false), all[..2], "the oldest two");
    assert_eq!(
        world.query(0, None, 2, true),
        backwards[..2],
        "the newest two"
    );
    assert_eq!(
        world.query(15, Some(40), 100, false),
        all[1..4],
        "from inclusive, to exclusive"
    );
    assert_eq!(world.query(15, Some(40), 100, true), backwards[2..5]);
    assert_eq!(world.query(51, None, 100, false), [""; 0]);
}

#[test]
fn a_cursor_sees_every_line_once_across_rotation_and_end() {
    let world = World::new(Budgets::default());
    let set = world.set("a", 0);
    let mut seen = Vec::new();
    let mut cursor = 0;
    let mut poll = |seen: &mut Vec<i64>| {
        for line in world.query(cursor, None, 2, false) {
            let time: i64 = line.split(' ').next().unwrap().parse().unwrap();
            seen.push(time);
            cursor = time + 1;
        }
    };
    world.write("a", "current", "1 O x\n2 O x\n3 O x\n4 O hal");
    poll(&mut seen);
    poll(&mut seen);
    world.write("a", "current", "f\n");
    world.rotate("a");
    world.write("a", "current", "5 O x\n");
    poll(&mut seen);
    world.write("a", "current", "6 O x\n");
    world.logs.end(&set).unwrap();
    poll(&mut seen);
    poll(&mut seen);
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn an_ended_instance_stays_readable_also_after_a_restart() {
    let world = World::new(Budgets::default());
    let set = world.set("a", 3);
    world.write("a", "current", "7 E boom\n");
    set.note("Exit status 1");
    world.logs.end(&set).unwrap();
    assert!(!world.folder.path().join("containers/a").exists());
    let folder = world.folder.path();
    let logs = Logs::open(
        folder.join("logs"),
        folder.join("containers"),
        Budgets::default(),
    )
    .unwrap();
    let world = World {
        logs,
        app: world.app,
        folder: world.folder,
    };
    let lines = world.query(0, None, 10, false);
    assert_eq!(lines[0], "7 APP/PROC/WEB/3 boom");
    assert!(lines[1].ends_with(" CELL/3 Exit status 1"), "{lines:?}");
    assert_eq!(world.query(8, Some(9), 10, false), [""; 0]);
}

#[test]
fn the_oldest_ended_instances_make_room_and_live_ones_stay() {
    let world = World::new(Budgets {
        app_logs: 120_000,
        ..Budgets::default()
    });
    let _live = world.set("live", 9);
    world.write("live", "current", "1 O live\n");
    for (name, time) in [("a", 10), ("b", 20), ("c", 30)] {
        let set = world.set(name, 0);
        world.write(
            name,
            "current",
            &format!("{time} O {} {name}\n", "x".repeat(45_000)),
        );
        world.logs.end(&set).unwrap();
    }
    assert_eq!(world.texts(), ["live", "b", "c"]);
}

#[test]
fn last_lines_cross_rotation_and_are_bounded() {
    let world = World::new(Budgets::default());
    let set = world.set("a", 0);
    world.write("a", "previous", "1 O one\n2 O two\n");
    world.write("a", "current", "3 O three-and-more\n");
    assert_eq!(set.last_lines(2, 5), ["two", "three"]);
    assert_eq!(set.last_lines(20, 5), ["one", "two", "three"]);
}

#[test]
fn a_set_that_has_just_begun_is_not_dropped_for_those_that_end() {
    const SETS: usize = 100;
    let world = World::new(Budgets {
        app_logs: 0,
        all_logs: 0,
        ..Budgets::default()
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let set = world.set("ends", 0);
            for _ in 0..SETS {
                world.logs.end(&set).unwrap();
            }
        });
        for at in 0..SETS {
            world.set(&format!("begins-{at}"), 0);
        }
    });
    let begun = world.logs.sets_of(world.app, 0);
    let begun = begun
        .iter()
        .filter(|set| set.meta.name.starts_with("begins"));
    assert_eq!(begun.count(), SETS);
}
