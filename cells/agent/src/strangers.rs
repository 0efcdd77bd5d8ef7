//! Containers that are there and that the ledger does not know, as after a lost or restored disk.
//!
//! They are reported, and go only when the leader says so: an agent that has lost its memory would otherwise remove what
//! its cell had been told to run. They take no orders and serve no requests.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use cells_engine::Engine;

use crate::cell::{Cell, blocking};
use crate::layers::Lease;
use crate::{durable, removal};

#[derive(Debug)]
pub(crate) struct Stranger<C> {
    container: C,
    /// Of all layers that were there when it was found, as nothing says on which it stands.
    leases: Arc<Vec<Lease>>,
}

/// Takes note of all of them.
pub(crate) fn keep<E: Engine>(cell: &Cell<E>, found: HashMap<String, E::Container>) {
    let mut names: Vec<String> = found.keys().cloned().collect();
    names.sort_unstable();
    tracing::warn!(
        containers = names.join(", "),
        "containers run here that the ledger does not know; the server decides about them"
    );
    cell.reports.set_strangers(names);
    let leases = Arc::new(cell.layers.lease_all());
    let strangers = found.into_iter().map(|(name, container)| {
        let leases = leases.clone();
        (name, Stranger { container, leases })
    });
    *cell
        .strangers
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = strangers.collect();
}

/// Removes one, with its folder, in a task of its own. It is reported until it is gone.
pub(crate) fn reap<E: Engine>(cell: &Arc<Cell<E>>, name: String) {
    let stranger = cell
        .strangers
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&name);
    // Known by now, being removed, or gone already.
    let Some(Stranger { container, leases }) = stranger else {
        return;
    };
    let keeper = cell.clone();
    cell.tracker.spawn(async move {
        if !removal::remove(&keeper, &container).await {
            return;
        }
        drop(leases);
        let folder = keeper.container_folder(&name);
        if let Err(error) = blocking(move || durable::remove_all(&folder)).await {
            tracing::error!(container = name, %error, "could not remove a container's folder");
        }
        keeper.reports.forget_stranger(&name);
    });
}
