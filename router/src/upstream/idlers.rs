//! The pools with something in them, so that looking for idle connections costs nothing for the many that have none.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::Pool;

/// Clones are the same list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Idlers(Arc<Mutex<Vec<Weak<Pool>>>>);

impl Idlers {
    /// Takes up a pool that got a connection.
    pub(super) fn list(&self, pool: &Arc<Pool>) {
        if !pool.is_listed.load(Ordering::Relaxed) && !pool.is_listed.swap(true, Ordering::AcqRel) {
            self.lock().push(Arc::downgrade(pool));
        }
    }

    /// Closes connections that nobody used for `age`.
    pub(crate) fn close(&self, age: Duration) {
        let listed = std::mem::take(&mut *self.lock());
        for pool in listed.iter().filter_map(Weak::upgrade) {
            // Cleared before the look: a connection that comes meanwhile lists the pool again, or is seen.
            pool.is_listed.store(false, Ordering::Release);
            if pool.close_idle(age) {
                self.list(&pool);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Pool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
