//! Removal of containers. What holds one may let go of it only later, and what is left of one costs an address, a cgroup
//! and a disk; so one that resists is tried again until it is gone.

use std::time::Duration;

use cells_engine::{Container, Engine};

use crate::cell::{Cell, text_of};
use crate::clock::Backoff;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Removes a container, however often it takes. False where the agent ends before; the next one finds what is left.
pub(crate) async fn remove<E: Engine>(cell: &Cell<E>, container: &E::Container) -> bool {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    let mut failed = false;
    while let Err(error) = container.remove().await {
        // Told once, not at every try.
        if !failed {
            tracing::error!(
                container = container.name(),
                error = text_of(&error),
                "could not remove a container; trying again"
            );
        }
        failed = true;
        tokio::select! {
            biased;
            () = cell.shutdown.cancelled() => return false,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
    if failed {
        tracing::info!(container = container.name(), "the container is removed");
    }
    true
}

/// What is left of a container that has not started, if that could not be removed at once.
pub(crate) async fn left_by_start<E: Engine>(cell: &Cell<E>, name: &str) -> Option<E::Container> {
    match cell.engine.adopt().await {
        Ok(found) => found.into_iter().find(|found| found.name() == name),
        Err(error) => {
            tracing::warn!(
                container = name,
                error = text_of(&error),
                "could not look for what is left of a container"
            );
            None
        }
    }
}
