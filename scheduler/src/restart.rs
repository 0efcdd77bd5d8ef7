//! When a crashed instance starts again: Diego's rule (bbs `restart_calculator.go`, `actual_lrp.go`).

use std::time::Duration;

use model::instance::{Exit, ExitReason};

/// A crash after a longer run than this counts as the first.
pub const RESET_AFTER: Duration = Duration::from_secs(5 * 60);
/// Crashes below this count restart at once.
pub const IMMEDIATE_BELOW: u32 = 3;
/// The wait after the third crash; it doubles with each one after that.
pub const FIRST_WAIT: Duration = Duration::from_secs(30);
pub const LONGEST_WAIT: Duration = Duration::from_secs(960);
/// From this count on an instance is not started again.
pub const GIVE_UP_AT: u32 = 200;

/// What follows a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    Now,
    After(Duration),
    Never,
}

/// The rule, for the count that includes the crash in question.
#[must_use]
pub fn restart(crash_count: u32) -> Restart {
    match crash_count {
        0..IMMEDIATE_BELOW => Restart::Now,
        GIVE_UP_AT.. => Restart::Never,
        count => {
            let doublings = (count - IMMEDIATE_BELOW).min(16);
            Restart::After((FIRST_WAIT * (1 << doublings)).min(LONGEST_WAIT))
        }
    }
}

/// An instance that ended on the platform's wish, or with its cell (a reboot), has not crashed; any other end is a crash,
/// also status 0.
#[must_use]
pub const fn is_crash(exit: &Exit) -> bool {
    !matches!(exit.reason, ExitReason::Stopped | ExitReason::Lost { .. })
}

/// The crash count after a crash.
#[must_use]
pub fn count_after(before: u32, exit: &Exit) -> u32 {
    if Duration::from_millis(exit.ran_ms) > RESET_AFTER {
        1
    } else {
        before.saturating_add(1)
    }
}

/// The wait before a place is asked for again, after cells refused or lost that many orders in a row without a word of
/// the instance: none after the first, then 1 s, doubling up to 32 s. So a cell that refuses everything is not asked
/// in a tight loop.
pub(crate) fn wait_after_refusals(refusals: u32) -> Option<Duration> {
    (refusals > 1).then(|| Duration::from_secs(1 << (refusals - 2).min(5)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_follows_diegos_table() {
        let table = [
            (1, Restart::Now),
            (2, Restart::Now),
            (3, Restart::After(Duration::from_secs(30))),
            (4, Restart::After(Duration::from_secs(60))),
            (5, Restart::After(Duration::from_secs(120))),
            (6, Restart::After(Duration::from_secs(240))),
            (7, Restart::After(Duration::from_secs(480))),
            (8, Restart::After(Duration::from_secs(960))),
            (9, Restart::After(Duration::from_secs(960))),
            (199, Restart::After(Duration::from_secs(960))),
            (200, Restart::Never),
            (u32::MAX, Restart::Never),
        ];
        for (count, want) in table {
            assert_eq!(restart(count), want, "{count}");
        }
    }

    #[test]
    fn only_a_run_of_more_than_five_minutes_forgives_earlier_crashes() {
        let exit = |ran_ms| Exit {
            reason: ExitReason::Exited,
            status: Some(0),
            ran_ms,
            last_lines: vec![],
        };
        assert_eq!(count_after(7, &exit(300_000)), 8);
        assert_eq!(count_after(7, &exit(300_001)), 1);
        assert!(is_crash(&exit(0)));
    }
}
