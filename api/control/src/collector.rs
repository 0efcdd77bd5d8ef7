//! The loop that keeps what the server stores within bounds.
//!
//! It takes no input but hints: an app that changed, blobs whose last row went. Each round looks at a page of apps, so a
//! round's work is bounded whatever the number of apps; when all were looked at, the rest of a pass follows (packages beyond
//! their budget, old events, blobs that no row names), and the next pass begins after a pause. What may go is decided by
//! the store, see [`store::collect`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::ids::AppId;
use store::Store;
use store::blobs::sweep::{BlobKind, Swept};
use store::collect::{Collected, Freed, Rules};
use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::settings::Bounds;

/// From the end of a pass to the next, where nothing asks for one.
const PERIOD: Duration = Duration::from_secs(600);
/// From the end of a pass to one that a full disk asks for.
const HURRY: Duration = Duration::from_secs(60);
/// A server that has just started has better things to do.
const FIRST: Duration = Duration::from_secs(60);
/// Between the rounds of a pass: the database has one writer, and others want it too.
const BREATH: Duration = Duration::from_millis(50);
/// After a failed round.
const BACK_OFF: Duration = Duration::from_secs(30);
/// Apps of one round.
const PAGE: u32 = 100;
/// Batches of one kind in one round.
const BATCHES: usize = 20;
/// Blobs that no row ever named are left alone for so long.
const GRACE_US: i64 = 3_600 * 1_000_000;
/// Hints beyond are dropped: the next pass finds the same.
const MAX_HINTS: usize = 10_000;

/// What a collection took away, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collection {
    pub collected: Collected,
    pub swept: Swept,
}

impl Collection {
    fn add(&mut self, other: Self) {
        self.collected.add(other.collected);
        self.swept += other.swept;
    }

    fn is_empty(&self) -> bool {
        self.collected.rows() == 0 && self.swept.blobs == 0
    }
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    bounds: Bounds,
    rules: Rules,
    hints: Mutex<Hints>,
    hinted: Notify,
    /// Held by whoever collects, with the place where the background's pass stands.
    turn: Turn<Place>,
}

#[derive(Debug, Default)]
struct Hints {
    apps: BTreeSet<AppId>,
    freed: Freed,
    /// The disk is nearly full: a pass is due now.
    hurry: bool,
}

/// Where a pass stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Apps after this one are still to be looked at.
    Apps(Option<AppId>),
    Rest,
    Done,
}

/// How a round left the pass.
enum Progress {
    UnderWay,
    PassEnded,
    /// None was under way.
    Resting,
}

/// Whether things go or are only counted, and when this is.
#[derive(Debug, Clone, Copy)]
struct How {
    now: i64,
    dry: bool,
}

impl Collector {
    pub(crate) fn new(store: Store, bounds: Bounds) -> Self {
        let rules = Rules {
            package_bytes: bounds.package_bytes,
            ..Rules::DEFAULT
        };
        Self {
            inner: Arc::new(Inner {
                store,
                bounds,
                rules,
                hints: Mutex::default(),
                hinted: Notify::new(),
                turn: Turn::new(Place::Done),
            }),
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.inner.bounds
    }

    fn hints(&self) -> MutexGuard<'_, Hints> {
        self.inner.hints.lock().expect("no panic while held")
    }

    /// Something of this app may not be needed any more.
    pub(crate) fn look_at(&self, app: AppId) {
        let mut hints = self.hints();
        if hints.apps.len() < MAX_HINTS {
            hints.apps.insert(app);
        }
        drop(hints);
        self.inner.hinted.notify_one();
    }

    /// Rows that named these blobs are gone.
    pub(crate) fn freed(&self, freed: Freed) {
        let mut hints = self.hints();
        if hints.freed.len() + freed.len() <= MAX_HINTS {
            hints.freed.add(freed);
        }
        drop(hints);
        self.inner.hinted.notify_one();
    }

    /// The disk is nearly full.
    pub(crate) fn hurry(&self) {
        self.hints().hurry = true;
        self.inner.hinted.notify_one();
    }

    /// Collects until `shutdown`.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        let mut pause = FIRST;
        let mut next_pass = Instant::now() + FIRST;
        let mut may_hurry = Instant::now();
        loop {
            tokio::select! {
                () = self.inner.hinted.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
            let hurry = std::mem::take(&mut self.hints().hurry) && Instant::now() >= may_hurry;
            let due = hurry || Instant::now() >= next_pass;
            pause = match self.round(due).await {
                Ok(Progress::Resting) => next_pass.saturating_duration_since(Instant::now()),
                Ok(Progress::PassEnded) => {
                    next_pass = Instant::now() + PERIOD;
                    may_hurry = Instant::now() + HURRY;
                    PERIOD
                }
                Ok(Progress::UnderWay) => BREATH,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a collection failed; it is tried again"
                    );
                    BACK_OFF
                }
            };
        }
    }

    /// Follows the hints, and goes on with a pass where one is due or under way.
    async fn round(&self, due: bool) -> store::Result<Progress> {
        let mut place = self.inner.turn.lock().await;
        if due && *place == Place::Done {
            *place = Place::Apps(None);
        }
        let how = How {
            now: store::now_us(),
            dry: false,
        };
        let mut collection = self.follow_hints(how).await?;
        let rested = *place == Place::Done;
        collection.add(self.advance(&mut place, how).await?);
        log(&collection);
        Ok(match *place {
            Place::Done if rested => Progress::Resting,
            Place::Done => Progress::PassEnded,
            Place::Apps(_) | Place::Rest => Progress::UnderWay,
        })
    }

    /// A whole pass at once. With `dry` nothing goes.
    pub(crate) async fn collect(&self, dry: bool) -> store::Result<Collection> {
        self.collect_at(store::now_us(), dry).await
    }

    pub(crate) async fn collect_at(&self, now: i64, dry: bool) -> store::Result<Collection> {
        let mut background = self.inner.turn.lock().await;
        let how = How { now, dry };
        let mut place = Place::Apps(None);
        let mut collection = if dry {
            Collection::default()
        } else {
            self.follow_hints(how).await?
        };
        while place != Place::Done {
            collection.add(self.advance(&mut place, how).await?);
        }
        if !dry {
            *background = Place::Done;
            log(&collection);
        }
        Ok(collection)
    }

    async fn follow_hints(&self, how: How) -> store::Result<Collection> {
        let (apps, freed) = {
            let mut hints = self.hints();
            (
                std::mem::take(&mut hints.apps),
                std::mem::take(&mut hints.freed),
            )
        };
        let mut collection = Collection {
            swept: self.sweep(&freed, how).await?,
            ..Collection::default()
        };
        for app in apps {
            collection.add(self.app(app, how).await?);
        }
        Ok(collection)
    }

    /// One round of a pass.
    async fn advance(&self, place: &mut Place, how: How) -> store::Result<Collection> {
        match *place {
            Place::Apps(after) => {
                let mut collection = Collection::default();
                let apps = self.inner.store.apps_after(after, PAGE).await?;
                for app in &apps {
                    collection.add(self.app(*app, how).await?);
                }
                *place = match apps.last() {
                    Some(last) => Place::Apps(Some(*last)),
                    None => Place::Rest,
                };
                Ok(collection)
            }
            Place::Rest => {
                let collection = self.rest(how).await?;
                *place = Place::Done;
                Ok(collection)
            }
            Place::Done => Ok(Collection::default()),
        }
    }

    /// An app to its end, a batch at a time.
    async fn app(&self, app: AppId, how: How) -> store::Result<Collection> {
        let (store, rules) = (&self.inner.store, &self.inner.rules);
        let mut collection = Collection::default();
        for _ in 0..BATCHES {
            let collected = store.collect_app(app, rules, how.now, how.dry).await?;
            let more = collected.rows() > 0 && !how.dry;
            collection.swept += self.sweep(&collected.freed, how).await?;
            collection.collected.add(collected);
            if !more {
                break;
            }
        }
        Ok(collection)
    }

    /// What belongs to no single app.
    async fn rest(&self, how: How) -> store::Result<Collection> {
        let (store, rules) = (&self.inner.store, &self.inner.rules);
        let mut collection = Collection::default();
        // On a disk that is nearly full, packages that only spare uploads are not worth their room.
        let disk = store.disk()?;
        let budget = if disk.free < self.inner.bounds.floor(disk.size) {
            0
        } else {
            rules.package_bytes
        };
        for _ in 0..BATCHES {
            let packages = store
                .collect_packages(rules, budget, how.now, how.dry)
                .await?;
            let events = store.collect_events(rules, how.now, how.dry).await?;
            let more = packages.rows() + events.rows() > 0 && !how.dry;
            collection.swept += self.sweep(&packages.freed, how).await?;
            collection.collected.add(packages);
            collection.collected.add(events);
            if !more {
                break;
            }
        }
        for kind in BlobKind::ALL {
            collection.swept += store.sweep_all(kind, how.now, GRACE_US, how.dry).await?;
        }
        if !how.dry {
            for _ in 0..BATCHES {
                if !store.vacuum().await? {
                    break;
                }
            }
        }
        Ok(collection)
    }

    async fn sweep(&self, freed: &Freed, how: How) -> store::Result<Swept> {
        let mut swept = Swept::default();
        for (kind, digests) in [
            (BlobKind::Layer, &freed.layers),
            (BlobKind::Package, &freed.packages),
        ] {
            let digests = digests.iter().copied().collect::<Vec<_>>();
            swept += self
                .inner
                .store
                .sweep(kind, &digests, how.now, 0, how.dry)
                .await?;
        }
        Ok(swept)
    }
}

fn log(collection: &Collection) {
    if collection.is_empty() {
        return;
    }
    let Collection { collected, swept } = collection;
    tracing::info!(
        bytes = swept.bytes,
        blobs = swept.blobs,
        releases = collected.releases,
        droplets = collected.droplets,
        packages = collected.packages,
        builds = collected.builds,
        deployments = collected.deployments,
        events = collected.events,
        "collected what is not needed any more"
    );
}

#[cfg(test)]
mod tests;
