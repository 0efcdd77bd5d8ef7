//! Looking at a container again and again, and ending it.

use std::time::Duration;

use cells_engine::{Container, Usage};

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
    last: Option<(tokio::time::Instant, Usage)>,
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
        let now = tokio::time::Instant::now();
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
