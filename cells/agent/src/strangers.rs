//! Containers that are there and that the ledger does not know, as after a lost or restored disk.
//!
//! They are reported, and go only when the leader says so: an agent that has lost its memory would otherwise remove what
//! its cell had been told to run. They take no orders and serve no requests.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use cells_engine::{Container as _, Engine};

use crate::cell::{Cell, blocking, text_of};
use crate::durable;

/// Takes note of all of them.
pub(crate) fn keep<E: Engine>(cell: &Cell<E>, found: HashMap<String, E::Container>) {
    let mut names: Vec<String> = found.keys().cloned().collect();
    names.sort_unstable();
    tracing::warn!(
        containers = names.join(", "),
        "containers run here that the ledger does not know; the server decides about them"
    );
    cell.reports.set_strangers(names);
    *cell
        .strangers
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = found;
}

/// Removes one, with its folder.
pub(crate) async fn reap<E: Engine>(cell: &Arc<Cell<E>>, name: &str) -> Result<(), String> {
    let stranger = cell
        .strangers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(name)
        .cloned();
    // Known by now, or gone already.
    let Some(stranger) = stranger else {
        return Ok(());
    };
    stranger.remove().await.map_err(|error| text_of(&error))?;
    let folder = cell.container_folder(name);
    blocking(move || durable::remove_all(&folder))
        .await
        .map_err(|error| format!("could not remove a container's folder: {error}"))?;
    cell.strangers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(name);
    cell.reports.forget_stranger(name);
    Ok(())
}
