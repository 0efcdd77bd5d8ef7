//! Keeps the walls between containers standing while they run. Whoever reloads the host's firewall takes them down without
//! meaning to, and nothing tells the agent.

use std::sync::Arc;
use std::time::Duration;

use cells_engine::Engine;

use crate::cell::{Cell, text_of};

/// For so long at most a flush leaves running containers without walls.
const INTERVAL: Duration = Duration::from_secs(2);

/// Looks after the walls until the agent ends.
pub(crate) async fn keep<E: Engine>(cell: Arc<Cell<E>>) {
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = cell.shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        match cell.engine.restore().await {
            Ok(restored) => {
                failing = false;
                if restored {
                    tracing::error!(
                        "somebody removed the packet filter around containers; it is installed again, and for up to {} s they were not kept apart",
                        INTERVAL.as_secs()
                    );
                }
            }
            // Told once, not every other second.
            Err(error) if !failing => {
                failing = true;
                tracing::error!(
                    error = text_of(&error),
                    "could not look after the walls between containers"
                );
            }
            Err(_) => {}
        }
    }
}
