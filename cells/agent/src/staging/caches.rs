//! Build caches, one per app, and whose turn it is to build.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use cells_engine::folders::disk_usage;
use model::ids::AppId;
use model::limits::Megabytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Budgets;
use crate::durable;

/// What the engine puts into the folder of a cache.
const CONTENTS: [&str; 2] = ["files", "image"];

/// The folder of caches. Two builds of one app share a cache, so they run one after the other.
#[derive(Debug)]
pub(crate) struct Caches {
    folder: PathBuf,
    budgets: Budgets,
    turns: Mutex<HashMap<AppId, Arc<Semaphore>>>,
}

/// The right to build; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _app: Option<OwnedSemaphorePermit>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Caches {
    pub(crate) fn new(folder: PathBuf, budgets: Budgets) -> Self {
        Self {
            folder,
            budgets,
            turns: Mutex::default(),
        }
    }

    /// Waits for the app's cache and for one of the cell's build slots, in the order of asking.
    pub(crate) async fn take_turn(&self, app: AppId, slots: &Arc<Semaphore>) -> Turn {
        const OPEN: &str = "these semaphores are never closed";
        let app = self.turn_of(app).acquire_owned().await.expect(OPEN);
        let slot = slots.clone().acquire_owned().await.expect(OPEN);
        Turn {
            _app: Some(app),
            _slot: Some(slot),
        }
    }

    /// Takes what is free for a build that runs already.
    pub(crate) fn take_turn_now(&self, app: AppId, slots: &Arc<Semaphore>) -> Turn {
        let app = self.turn_of(app).try_acquire_owned().ok();
        Turn {
            _app: app,
            _slot: slots.clone().try_acquire_owned().ok(),
        }
    }

    fn turn_of(&self, app: AppId) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody holds or waits for the turns of which only the map knows.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns
            .entry(app)
            .or_insert_with(|| Arc::new(Semaphore::new(1)))
            .clone()
    }

    /// The cache folder of an app, made if need be and marked as used now. Blocks.
    pub(crate) fn open(&self, app: AppId) -> io::Result<PathBuf> {
        let folder = self.folder.join(app.to_string());
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            // Caches of earlier versions had their files right here.
            if !CONTENTS.iter().any(|name| entry.file_name() == *name) {
                durable::remove_all(&entry.path())?;
            }
        }
        File::open(&folder)?.set_modified(SystemTime::now())?;
        Ok(folder)
    }

    /// What a build may put into the cache of its app, where `spare` is what the cell could do without. More than what is kept of
    /// it, up to what the build may write anyway: one that needs more than fits into the budget succeeds, and the cache goes
    /// afterwards.
    pub(crate) fn limit(&self, build: Megabytes, spare: Megabytes) -> Megabytes {
        let kept = self.budgets.app_build_cache / (1024 * 1024);
        let kept = u32::try_from(kept).unwrap_or(u32::MAX);
        // In powers of two, since a cache whose size is another begins anew.
        let spare = spare.0.checked_ilog2().map_or(0, |power| 1 << power);
        Megabytes(build.0.min(spare).max(kept))
    }

    /// Bytes by which the cache of `app` exceeds its budget now. Blocks.
    pub(crate) fn excess(&self, app: AppId) -> u64 {
        let cache = self.folder.join(app.to_string());
        disk_usage(&cache).saturating_sub(self.budgets.app_build_cache)
    }

    /// Drops the cache of `app` if it is too large by itself or `full`, so that nothing more can be put into it, then the
    /// longest unused until all fit. Blocks.
    pub(crate) fn make_room(&self, app: AppId, full: bool) -> io::Result<()> {
        let own = self.folder.join(app.to_string());
        if full || self.excess(app) > 0 {
            tracing::info!(app.guid = %app, "an app's build cache exceeds its budget and is dropped");
            durable::remove_all(&own)?;
        }
        self.shrink(|bytes| bytes <= self.budgets.all_build_caches, Some(app))
    }

    /// Drops caches that no build uses, the longest unused first, until there is `enough` space. Blocks.
    pub(crate) fn give_way(&self, enough: impl Fn() -> bool) -> io::Result<()> {
        self.shrink(|_| enough(), None)
    }

    /// What the caches take that no build uses. Blocks.
    pub(crate) fn unused_bytes(&self) -> io::Result<u64> {
        let mut caches = self.list()?;
        caches.retain(|(_, _, path)| self.take_idle(path).is_some());
        Ok(caches.iter().map(|(_, bytes, _)| bytes).sum())
    }

    /// Drops unused caches, the longest unused first, until the bytes of the rest are `enough`.
    fn shrink(&self, enough: impl Fn(u64) -> bool, stays: Option<AppId>) -> io::Result<()> {
        let stays = stays.map(|app| self.folder.join(app.to_string()));
        let caches = self.list()?;
        let mut total: u64 = caches.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in caches {
            if enough(total) {
                break;
            }
            let turn = self.take_idle(&path);
            if stays.as_ref() == Some(&path) || turn.is_none() {
                continue;
            }
            durable::remove_all(&path)?;
            total -= bytes;
        }
        Ok(())
    }

    /// When each cache was last used, its bytes, and where it is; the longest unused first.
    fn list(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut caches = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten() {
            let entry = entry?;
            match entry.metadata().and_then(|found| found.modified()) {
                // A build that has just ended may have dropped it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                used => caches.push((used?, disk_usage(&entry.path()), entry.path())),
            }
        }
        caches.sort();
        Ok(caches)
    }

    /// Takes the turn of the cache at `path`, so that no build starts on it while it is going away. None where a build uses it.
    fn take_idle(&self, path: &Path) -> Option<Turn> {
        let app = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<AppId>().ok());
        let turn = app.map(|app| self.turn_of(app).try_acquire_owned());
        Some(Turn {
            _app: turn.transpose().ok()?,
            _slot: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_unused_cache_goes_first_and_those_in_use_stay() {
        let folder = tempfile::tempdir().unwrap();
        let budgets = Budgets {
            all_build_caches: 250_000,
            app_build_cache: 150_000,
            ..Budgets::default()
        };
        let caches = Caches::new(folder.path().to_owned(), budgets);
        let apps: Vec<_> = (0..4).map(|_| AppId::random()).collect();
        for (age, app) in apps.iter().enumerate() {
            let cache = caches.open(*app).unwrap();
            fs::create_dir(cache.join("files")).unwrap();
            fs::write(cache.join("files/repository"), vec![1; 100_000]).unwrap();
            let used = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64);
            File::open(&cache).unwrap().set_modified(used).unwrap();
        }
        let slots = Arc::new(Semaphore::new(2));
        let _turn = caches.take_turn(apps[0], &slots).await;
        caches.make_room(apps[3], false).unwrap();
        let there = |app: &AppId| folder.path().join(app.to_string()).exists();
        assert_eq!(
            apps.iter().map(there).collect::<Vec<_>>(),
            [true, false, false, true]
        );
        let more = caches.open(apps[3]).unwrap().join("files/more");
        fs::write(more, vec![1; 100_000]).unwrap();
        assert!(caches.excess(apps[3]) > 0 && caches.excess(apps[0]) == 0);
        caches.make_room(apps[3], false).unwrap();
        assert!(!there(&apps[3]), "too large by itself");
        fs::write(caches.open(apps[0]).unwrap().join("image"), "full").unwrap();
        caches.make_room(apps[0], true).unwrap();
        assert!(!there(&apps[0]), "nothing could be put into it any more");
    }

    #[tokio::test]
    async fn no_more_caches_give_way_than_are_needed() {
        let folder = tempfile::tempdir().unwrap();
        let caches = Caches::new(folder.path().to_owned(), Budgets::default());
        let apps: Vec<_> = (0..4).map(|_| AppId::random()).collect();
        for (age, app) in apps.iter().enumerate() {
            let cache = caches.open(*app).unwrap();
            fs::write(cache.join("image"), vec![1; 100_000]).unwrap();
            let used = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64);
            File::open(&cache).unwrap().set_modified(used).unwrap();
        }
        let all = caches.unused_bytes().unwrap();
        let _turn = caches
            .take_turn(apps[0], &Arc::new(Semaphore::new(1)))
            .await;
        assert_eq!(caches.unused_bytes().unwrap(), all / 4 * 3);
        let there = |app: &AppId| folder.path().join(app.to_string()).exists();
        caches.give_way(|| true).unwrap();
        assert!(apps.iter().all(there));
        caches.give_way(|| !there(&apps[1])).unwrap();
        assert_eq!(
            apps.iter().map(there).collect::<Vec<_>>(),
            [true, false, true, true]
        );
    }

    #[test]
    fn a_build_may_write_more_than_is_kept_but_no_more_than_there_is_room_for() {
        let budgets = Budgets {
            app_build_cache: 256 << 20,
            ..Budgets::default()
        };
        let caches = Caches::new("unused".into(), budgets);
        for (build, spare, limit) in [
            (4096, 100_000, 4096),
            (4096, 3000, 2048),
            (4096, 100, 256),
            (4096, 0, 256),
            (128, 100_000, 256),
        ] {
            let got = caches.limit(Megabytes(build), Megabytes(spare));
            assert_eq!(got, Megabytes(limit), "{build} {spare}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn builds_of_one_app_take_turns() {
        let caches = Caches::new("unused".into(), Budgets::default());
        let (slots, app) = (Arc::new(Semaphore::new(2)), AppId::random());
        let first = caches.take_turn(app, &slots).await;
        let second = tokio::time::timeout(
            std::time::Duration::from_secs(1),
            caches.take_turn(app, &slots),
        )
        .await;
        assert!(second.is_err());
        let _other = caches.take_turn(AppId::random(), &slots).await;
        drop(first);
        caches.take_turn(app, &slots).await;
    }
}
