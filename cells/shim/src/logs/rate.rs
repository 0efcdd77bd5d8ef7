//! How fast a container may write lines. As in Diego, who exceeds the rate is told so, and heard again a second later.

use std::time::Duration;

/// For so long all is dropped after one line too many.
const SILENCE: Duration = Duration::from_secs(1);

/// A bucket that fills with the allowed bytes of a second.
#[derive(Debug)]
pub(super) struct Rate {
    /// Bytes per second.
    limit: u64,
    tokens: f64,
    last: Duration,
    silent_until: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    Drop,
    /// The first that is dropped in a second: the reader shall know.
    DropAndTell,
}

impl Rate {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            tokens: limit as f64,
            last: Duration::ZERO,
            silent_until: Duration::ZERO,
        }
    }

    /// What becomes of a line of `bytes`, at `now` on a clock that begins with the container.
    pub(super) fn judge(&mut self, now: Duration, bytes: usize) -> Verdict {
        if self.limit == 0 || now < self.silent_until {
            return Verdict::Drop;
        }
        let passed = now.saturating_sub(self.last).as_secs_f64();
        self.last = now;
        self.tokens = (self.tokens + passed * self.limit as f64).min(self.limit as f64);
        if self.tokens >= bytes as f64 {
            self.tokens -= bytes as f64;
            Verdict::Keep
        } else {
            self.silent_until = now + SILENCE;
            Verdict::DropAndTell
        }
    }

    /// What the reader is told, in Diego's words.
    pub(super) fn sentence(&self) -> String {
        format!(
            "app instance exceeded log rate limit ({} bytes/sec)",
            self.limit
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_exceeds_the_rate_is_told_once_a_second_and_heard_again_after_it() {
        let mut rate = Rate::new(100);
        let at = Duration::from_millis;
        let table = [
            (0, 60, Verdict::Keep),
            (100, 50, Verdict::Keep),
            (101, 60, Verdict::DropAndTell),
            (500, 1, Verdict::Drop),
            (1100, 1, Verdict::Drop),
            (1101, 60, Verdict::Keep),
            (1102, 60, Verdict::DropAndTell),
            (5000, 100, Verdict::Keep),
        ];
        for (now, bytes, verdict) in table {
            assert_eq!(rate.judge(at(now), bytes), verdict, "at {now} ms");
        }
        assert_eq!(
            Rate::new(0).judge(at(0), 1),
            Verdict::Drop,
            "0 is no output at all"
        );
    }
}
