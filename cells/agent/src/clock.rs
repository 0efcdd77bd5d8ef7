//! The wall clock, and random delays.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_us() -> i64 {
    now_ns() / 1000
}

/// How long ago `since_us` was; zero where the clock was set back.
pub(crate) fn elapsed_since(since_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(now_us() - since_us).unwrap_or(0))
}

/// Delays that double up to a limit, each between half and one and a half of its step, so that many cells do not call
/// a returning server in the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    limit: Duration,
    step: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            limit,
            step: first,
        }
    }

    pub(crate) const fn reset(&mut self) {
        self.step = self.first;
    }

    pub(crate) fn next_delay(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(self.limit);
        // Every `RandomState` has its own keys, drawn from the operating system's randomness.
        let dice = RandomState::new().hash_one(0u8) % 1024;
        step.mul_f64(0.5 + dice as f64 / 1024.0)
    }
}
