//! What apps and builds of this cell have said, and what the cell did with them.
//!
//! Each instance and each build has a [`LogSet`]: a folder `logs/<app>/<name>` with `meta.json`, a file `notes` for the
//! cell's own lines, and, once its container is gone, the container's output files. While the container lives, its
//! output lies in the container's folder, as described at [`cells_engine::logs`]. Ended sets stay until their app's
//! byte budget needs the room, so that a crashed instance can still be read.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cells_engine::folders::disk_usage;
use model::ids::AppId;
use model::log::LogSource;
use serde::{Deserialize, Serialize};

use crate::config::Budgets;
use crate::{clock, durable};

#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod merge;
mod read;
mod record;

pub(crate) use read::{Reading, read};

/// Ended sets of one app beyond this many go, however small: a crash loop makes many.
const MAX_ENDED_SETS: usize = 64;
const META: &str = "meta.json";
const MAX_META_BYTES: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Logs {
    folder: PathBuf,
    containers: PathBuf,
    budgets: Budgets,
    sets: Mutex<BTreeMap<AppId, Vec<Arc<LogSet>>>>,
}

/// The lines of one instance or build.
#[derive(Debug)]
pub(crate) struct LogSet {
    folder: PathBuf,
    /// `logs` in the container's folder.
    live: PathBuf,
    pub(crate) meta: LogMeta,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    last_note_ns: i64,
    /// Where the set has ended: the time of its last line, and its size on disk.
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    last_ns: i64,
    bytes: u64,
}

/// Whose lines a set holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogMeta {
    pub(crate) app: AppId,
    /// Source of the container's output.
    pub(crate) source: LogSource,
    /// Source of the cell's own lines.
    pub(crate) notes: LogSource,
    pub(crate) index: u32,
    /// The container's name.
    pub(crate) name: String,
}

impl Logs {
    /// Reads what sets there are. All count as ended until [`Logs::begin`] names them again.
    pub(crate) fn open(folder: PathBuf, containers: PathBuf, budgets: Budgets) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let logs = Self {
            folder,
            containers,
            budgets,
            sets: Mutex::default(),
        };
        for app in fs::read_dir(&logs.folder)? {
            let Ok(found) = fs::read_dir(app?.path()) else {
                continue;
            };
            for entry in found {
                let folder = entry?.path();
                match durable::read_json::<LogMeta>(&folder.join(META), MAX_META_BYTES) {
                    Ok(meta) => {
                        let set = logs.add(meta, folder);
                        let ended = set.measure();
                        let mut progress = set.progress();
                        progress.last_note_ns = ended.last_ns;
                        progress.ended = Some(ended);
                    }
                    Err(error) => {
                        tracing::warn!(folder = %folder.display(), %error, "a log folder is unreadable and was removed");
                        durable::remove_all(&folder)?;
                    }
                }
            }
        }
        Ok(logs)
    }

    /// Takes a set into the index. It has not ended, so that nobody drops it.
    fn add(&self, meta: LogMeta, folder: PathBuf) -> Arc<LogSet> {
        let app = meta.app;
        let set = Arc::new(LogSet {
            folder,
            live: self.containers.join(&meta.name).join("logs"),
            meta,
            progress: Mutex::default(),
        });
        self.sets().entry(app).or_default().push(set.clone());
        set
    }

    /// The set of a container that is about to run.
    pub(crate) fn begin(&self, meta: LogMeta) -> io::Result<Arc<LogSet>> {
        if let Some(known) = self.revive(&meta) {
            return Ok(known);
        }
        let folder = self.folder_of(&meta);
        make_folder(&folder, &meta)?;
        Ok(self.add(meta, folder))
    }

    /// The set of a container that ran before the agent was restarted; also where the disk does not take it now.
    pub(crate) fn resume(&self, meta: LogMeta) -> Arc<LogSet> {
        if let Some(known) = self.revive(&meta) {
            return known;
        }
        let folder = self.folder_of(&meta);
        if let Err(error) = make_folder(&folder, &meta) {
            tracing::error!(name = %meta.name, %error, "could not make the folder of a log");
        }
        self.add(meta, folder)
    }

    /// The known set of that name, which has not ended from now on.
    fn revive(&self, meta: &LogMeta) -> Option<Arc<LogSet>> {
        let sets = self.sets();
        let mut of_app = sets.get(&meta.app)?.iter();
        let set = of_app.find(|set| set.meta.name == meta.name)?.clone();
        set.progress().ended = None;
        Some(set)
    }

    fn folder_of(&self, meta: &LogMeta) -> PathBuf {
        self.folder.join(meta.app.to_string()).join(&meta.name)
    }

    /// Takes over the output of a container that is gone, and makes room.
    pub(crate) fn end(&self, set: &LogSet) -> io::Result<()> {
        // Where the disk did not take it when the set began.
        if !set.folder.join(META).exists() {
            make_folder(&set.folder, &set.meta)?;
        }
        for name in ["previous", "current"] {
            match fs::rename(set.live.join(name), set.folder.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        if let Some(container) = set.live.parent() {
            durable::remove_all(container)?;
        }
        let ended = set.measure();
        set.progress().ended = Some(ended);
        self.make_room(set.meta.app)
    }

    /// The sets of an app that may hold lines at or after `start_ns`.
    pub(crate) fn sets_of(&self, app: AppId, start_ns: i64) -> Vec<Arc<LogSet>> {
        let sets = self.sets().get(&app).cloned().unwrap_or_default();
        sets.into_iter()
            .filter(|set| {
                set.progress()
                    .ended
                    .is_none_or(|ended| ended.last_ns >= start_ns)
            })
            .collect()
    }

    fn make_room(&self, app: AppId) -> io::Result<()> {
        for set in self.surplus(app) {
            durable::remove_all(&set.folder)?;
        }
        Ok(())
    }

    /// Takes the sets out of the index that the budgets have no room for.
    fn surplus(&self, app: AppId) -> Vec<Arc<LogSet>> {
        let mut sets = self.sets();
        let mut gone = Vec::new();
        if let Some(of_app) = sets.get_mut(&app) {
            drop_oldest(of_app, self.budgets.app_logs, MAX_ENDED_SETS, &mut gone);
        }
        let mut all: Vec<_> = sets.values().flatten().cloned().collect();
        let mut beyond = Vec::new();
        drop_oldest(&mut all, self.budgets.all_logs, usize::MAX, &mut beyond);
        for set in &beyond {
            if let Some(of_app) = sets.get_mut(&set.meta.app) {
                of_app.retain(|kept| !Arc::ptr_eq(kept, set));
            }
        }
        sets.retain(|_, of_app| !of_app.is_empty());
        gone.extend(beyond);
        gone
    }

    fn sets(&self) -> MutexGuard<'_, BTreeMap<AppId, Vec<Arc<LogSet>>>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_folder(folder: &Path, meta: &LogMeta) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    durable::write_json(&folder.join(META), meta)
}

/// Moves the ended sets that exceed a budget from `sets` to `gone`, the oldest first.
fn drop_oldest(
    sets: &mut Vec<Arc<LogSet>>,
    max_bytes: u64,
    max_sets: usize,
    gone: &mut Vec<Arc<LogSet>>,
) {
    let ended = |set: &Arc<LogSet>| set.progress().ended;
    sets.sort_by_key(|set| ended(set).map_or(i64::MAX, |ended| ended.last_ns));
    let mut bytes: u64 = sets.iter().filter_map(ended).map(|ended| ended.bytes).sum();
    let mut count = sets.iter().filter_map(ended).count();
    while bytes > max_bytes || count > max_sets {
        let Some(oldest) = sets.first().and_then(ended) else {
            break;
        };
        bytes -= oldest.bytes;
        count -= 1;
        gone.push(sets.remove(0));
    }
}

/// The beginning of `text` that takes at most `max_bytes` in JSON, where one character can take six.
pub(crate) fn cut(text: &str, max_bytes: usize) -> String {
    let mut left = max_bytes;
    text.chars()
        .take_while(|character| {
            let bytes = match character {
                '"' | '\\' => 2,
                character if character.is_ascii_control() => 6,
                character => character.len_utf8(),
            };
            left.checked_sub(bytes).is_some_and(|rest| {
                left = rest;
                true
            })
        })
        .collect()
}

impl LogSet {
    /// Adds a line of the cell's own. A disk that takes no line must not stop an instance, so a failure is only logged.
    pub(crate) fn note(&self, text: &str) {
        let mut progress = self.progress();
        // Strictly increasing, because the time is the reader's cursor.
        let time_ns = clock::now_ns().max(progress.last_note_ns + 1);
        let text = text.replace('\n', " ");
        let append = || {
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.folder.join("notes"))?;
            file.write_all(format!("{time_ns} O {text}\n").as_bytes())
        };
        match append() {
            Ok(()) => progress.last_note_ns = time_ns,
            Err(error) => {
                tracing::warn!(name = %self.meta.name, %error, "could not add a line to an instance's log")
            }
        }
    }

    /// The last lines of the container's output, oldest first, at most `count`, each at most `max_bytes` long as JSON.
    pub(crate) fn last_lines(&self, count: usize, max_bytes: usize) -> Vec<String> {
        let mut lines = read::last_output(self, count).unwrap_or_else(|error| {
            tracing::warn!(name = %self.meta.name, %error, "could not read the end of an instance's log");
            Vec::new()
        });
        lines.reverse();
        let text = |bytes: Vec<u8>| cut(&String::from_utf8_lossy(&bytes), max_bytes);
        lines.into_iter().map(text).collect()
    }

    fn output_folders(&self) -> [&Path; 2] {
        [&self.live, &self.folder]
    }

    fn measure(&self) -> Ended {
        Ended {
            last_ns: read::last_time(self).unwrap_or(0),
            bytes: disk_usage(&self.folder),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
