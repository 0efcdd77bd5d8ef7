//! One child of the supervisor, started again whenever it ends.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::words::warn;
use crate::children::{self, Running};
use crate::paths::Paths;
use crate::run_file;

/// The first restart of a child waits this long, each further one twice as long.
const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const MAX_BACK_OFF: Duration = Duration::from_secs(10);
/// A child that ran for so long starts over with the first back-off.
const STEADY: Duration = Duration::from_secs(60);

/// A child and what it takes to start it again.
pub(super) struct Child {
    role: &'static str,
    args: Vec<String>,
    listeners: Vec<OwnedFd>,
    pub(super) running: Running,
    since: Instant,
    back_off: Duration,
    /// When it is started again, once it has ended.
    again_at: Option<tokio::time::Instant>,
}

impl Child {
    pub(super) fn new(
        role: &'static str,
        args: Vec<String>,
        listeners: Vec<OwnedFd>,
        adopted: Option<Running>,
        paths: &Paths,
    ) -> anyhow::Result<Self> {
        let running = match adopted {
            Some(running) => running,
            None => start(paths, role, &args, &listeners)?,
        };
        Ok(Self {
            role,
            args,
            listeners,
            running,
            since: Instant::now(),
            back_off: FIRST_BACK_OFF,
            again_at: None,
        })
    }

    /// Completes when it has ended and was started again, after its back-off. Dropped halfway, it goes on at the next call, so
    /// that signals and the other children need not wait for one that keeps ending.
    pub(super) async fn keep(&mut self, paths: &Paths) {
        let at = match self.again_at {
            Some(at) => at,
            None => {
                self.running.ended().await;
                warn(format_args!(
                    "the {} (pid {}) ended and is started again; its log: {}",
                    self.role,
                    self.running.pid,
                    paths.log(self.role).display()
                ));
                if self.since.elapsed() > STEADY {
                    self.back_off = FIRST_BACK_OFF;
                }
                *self
                    .again_at
                    .insert(tokio::time::Instant::now() + self.back_off)
            }
        };
        tokio::time::sleep_until(at).await;
        self.again_at = None;
        self.back_off = (self.back_off * 2).min(MAX_BACK_OFF);
        self.since = Instant::now();
        match start(paths, self.role, &self.args, &self.listeners) {
            Ok(running) => self.running = running,
            // The others go on meanwhile.
            Err(error) => warn(format_args!(
                "the {} could not be started again: {error:#}",
                self.role
            )),
        }
    }
}

/// A child whose pid can't be written serves all the same: only the next supervisor will not find it.
fn start(
    paths: &Paths,
    role: &str,
    args: &[String],
    listeners: &[OwnedFd],
) -> anyhow::Result<Running> {
    // The disk may have room again since the last one was needed.
    run_file::reserve(paths);
    let running = children::start(paths, role, args, &listeners.iter().collect::<Vec<_>>())?;
    if let Err(error) = children::write_pid(paths, role, running.pid) {
        warn(format_args!(
            "{error:#}: only this 'slipway up' knows the {role}"
        ));
    }
    Ok(running)
}
