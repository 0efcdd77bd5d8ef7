//! The time that the fleet lives in. A test lets it pass by itself, together with all timers.

use scheduler::Time;

#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    /// The wall clock.
    System,
    /// The runtime's clock, which a test may have paused, counted from `at`.
    #[cfg(test)]
    Runtime {
        began: tokio::time::Instant,
        at: Time,
    },
}

impl Clock {
    /// Now, as the scheduler counts.
    pub(super) fn now(self) -> Time {
        match self {
            Self::System => Time(store::now_us()),
            #[cfg(test)]
            Self::Runtime { began, at } => at.after(began.elapsed()),
        }
    }
}
