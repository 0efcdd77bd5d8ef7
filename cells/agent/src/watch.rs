//! Looking at a container again and again, and ending it.

use std::time::Duration;

use cells_engine::{Container, Usage};
use tokio::time::Instant;

use crate::cell::text_of;

/// How often usage is measured and disk limits are checked.
pub(crate) const SAMPLE: Duration = Duration::from_secs(3);

/// Figures between two looks at a container.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) usage: Usage,
    /// Share of one core.
    pub(crate) cpu: f64,
    /// Bytes per second.
    pub(crate) log_rate: u64,
}

/// Measures one container again and again.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: Option<(Instant, Usage)>,
}

impl Meter {
    /// The next sample; waits first unless it is the first one.
    pub(crate) async fn next<C: Container>(&mut self, container: &C) -> Sample {
        loop {
            if self.last.is_some() {
                tokio::time::sleep(SAMPLE).await;
            }
            match container.usage().await {
                Ok(usage) => return self.note(usage),
                // A container that has just ended has no usage; its end is noticed elsewhere.
                Err(error) => {
                    tracing::debug!(container = container.name(), %error, "could not measure usage")
                }
            }
            if self.last.is_none() {
                tokio::time::sleep(SAMPLE).await;
            }
        }
    }

    fn note(&mut self, usage: Usage) -> Sample {
        let now = Instant::now();
        let mut sample = Sample {
            usage,
            ..Sample::default()
        };
        if let Some((then, before)) = self.last {
            let seconds = (now - then).as_secs_f64().max(0.001);
            sample.cpu = usage.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds;
            sample.log_rate =
                (usage.log_bytes.saturating_sub(before.log_bytes) as f64 / seconds) as u64;
        }
        self.last = Some((now, usage));
        sample
    }
}

/// When a full disk is worth a line of the log: when it has become full, but not each time for an app that fills and frees it
/// again and again, since the cell's own lines have no budget while an instance runs.
#[derive(Debug, Default)]
pub(crate) struct FullDisk {
    was_full: bool,
    told: Option<Instant>,
}

impl FullDisk {
    const SILENCE: Duration = Duration::from_secs(600);

    pub(crate) fn is_news(&mut self, full: bool, now: Instant) -> bool {
        let silent = self.told.is_some_and(|told| now < told + Self::SILENCE);
        let news = full && !self.was_full && !silent;
        if news {
            self.told = Some(now);
        }
        self.was_full = full;
        news
    }
}

/// Ends a container: SIGTERM, and SIGKILL after `grace`.
pub(crate) async fn terminate<C: Container>(container: &C, grace: Duration) -> Terminated {
    if let Err(error) = container.signal(cells_engine::Signal::Terminate).await {
        tracing::debug!(container = container.name(), %error, "could not send SIGTERM");
    }
    if let Ok(ended) = tokio::time::timeout(grace, container.wait()).await {
        return Terminated {
            exit: ended.map_err(|error| text_of(&error)),
            killed: false,
        };
    }
    if let Err(error) = container.signal(cells_engine::Signal::Kill).await {
        tracing::warn!(container = container.name(), %error, "could not send SIGKILL");
    }
    const UNKILLABLE: Duration = Duration::from_secs(30);
    let exit = match tokio::time::timeout(UNKILLABLE, container.wait()).await {
        Ok(ended) => ended.map_err(|error| text_of(&error)),
        Err(_) => Err("it did not end after SIGKILL".to_owned()),
    };
    Terminated { exit, killed: true }
}

pub(crate) struct Terminated {
    /// The exit, or why it is not known.
    pub(crate) exit: Result<cells_engine::ContainerExit, String>,
    /// Whether the grace time was over before it ended.
    pub(crate) killed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_filled_again_and_again_is_told_once_in_ten_minutes() {
        let (mut disk, begun) = (FullDisk::default(), Instant::now());
        for (second, full, news) in [
            (0, false, false),
            (3, true, true),
            (6, true, false),
            (9, false, false),
            (12, true, false),
            (602, false, false),
            (603, true, true),
            (1300, true, false),
        ] {
            let now = begun + Duration::from_secs(second);
            assert_eq!(disk.is_news(full, now), news, "after {second} s");
        }
    }
}
