//! What all parts of the agent share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cells_engine::{Engine, Mount};
use model::droplet::Stack;
use model::ids::{InstanceId, TaskId};
use model::protocol::cell::{CellCapacity, Isolation};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::instance::Instance;
use crate::layers::{Layers, Owner};
use crate::ledger::Ledger;
use crate::logs::Logs;
use crate::reports::Reports;
use crate::room::Room;
use crate::server::Server;
use crate::strangers::Stranger;
use crate::task::Task;

/// Cloud Foundry's limit of open files.
pub(crate) const OPEN_FILES: u64 = 16_384;
/// Where the binary stands in containers.
pub(crate) const EXE_INSIDE: &str = "/.slipway/slipway";
/// The user `vcap`, as in Cloud Foundry's stacks.
pub(crate) const VCAP: Owner = Owner {
    uid: 2000,
    gid: 2000,
};

#[derive(Debug)]
pub(crate) struct Cell<E: Engine> {
    pub(crate) config: Config,
    pub(crate) engine: E,
    pub(crate) stack: Stack,
    pub(crate) capacity: CellCapacity,
    pub(crate) room: Arc<Room>,
    pub(crate) ledger: Ledger,
    pub(crate) reports: Reports,
    pub(crate) server: Server,
    pub(crate) layers: Layers,
    pub(crate) logs: Logs,
    pub(crate) instances: Registry<InstanceId, Instance>,
    pub(crate) tasks: Registry<TaskId, Task>,
    /// Containers that the ledger does not know, by name.
    pub(crate) strangers: Mutex<HashMap<String, Stranger<E::Container>>>,
    pub(crate) build_slots: Arc<Semaphore>,
    /// Streams to the server at the same time.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) build_caches: crate::staging::Caches,
    pub(crate) tracker: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

impl<E: Engine> Cell<E> {
    pub(crate) fn container_folder(&self, name: &str) -> PathBuf {
        containers_folder(&self.config).join(name)
    }

    /// Removes what was kept to be faster and nothing uses now, until `wanted` bytes beyond the least are free. Blocks, maybe for
    /// minutes.
    pub(crate) fn give_way(&self, wanted: u64) -> std::io::Result<()> {
        let spare = self.layers.unused_bytes() + self.build_caches.unused_bytes()?;
        let goal = self.room.goal(wanted, spare)?;
        let enough = || self.room.has(goal).unwrap_or(true);
        self.layers.give_way(enough)?;
        self.build_caches.give_way(enough)
    }

    /// The binary's path as the container's command sees it, and the bind that brings it there.
    pub(crate) fn exe(&self) -> (String, Option<Mount>) {
        match self.engine.isolation() {
            Isolation::Process => (self.config.exe.display().to_string(), None),
            Isolation::Container => {
                let target = EXE_INSIDE.to_owned();
                let mount = Mount {
                    source: self.config.exe.clone(),
                    target: target.clone(),
                    writable: false,
                };
                (target, Some(mount))
            }
        }
    }

    /// The home folder as the container's command sees it.
    pub(crate) fn home(&self, name: &str) -> String {
        match self.engine.isolation() {
            Isolation::Container => model::droplet::Image::HOME.to_owned(),
            Isolation::Process => self
                .container_folder(name)
                .join("home")
                .display()
                .to_string(),
        }
    }

    /// Search path of commands.
    pub(crate) fn search_path(&self) -> &str {
        const INSIDE: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        match (self.engine.isolation(), &self.config.host.path) {
            (Isolation::Process, Some(path)) => path,
            _ => INSIDE,
        }
    }
}

pub(crate) fn containers_folder(config: &Config) -> PathBuf {
    config.data.join("containers")
}

/// Who shall own what containers read and write.
pub(crate) const fn owner_under(isolation: Isolation) -> Option<Owner> {
    match isolation {
        Isolation::Container => Some(VCAP),
        Isolation::Process => None,
    }
}

/// Diego's CPU weight: by memory, between 128 MiB and 8 GiB, 100 at the top.
pub(crate) fn cpu_weight(memory_mb: u32) -> u32 {
    (100 * memory_mb.clamp(128, 8192) / 8192).max(1)
}

/// What the cell has, by id.
#[derive(Debug)]
pub(crate) struct Registry<K, V>(Mutex<HashMap<K, Arc<V>>>);

impl<K: std::hash::Hash + Eq + Copy, V> Registry<K, V> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub(crate) fn get(&self, id: K) -> Option<Arc<V>> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn insert(&self, id: K, value: Arc<V>) {
        self.lock().insert(id, value);
    }

    pub(crate) fn remove(&self, id: K) {
        self.lock().remove(&id);
    }

    pub(crate) fn all(&self) -> Vec<Arc<V>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with all its causes, for people.
pub(crate) fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Runs blocking work at the one seam for it. A panic in it goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking work is cancelled only while the runtime shuts down; nobody can go on from here then.
            Err(_) => std::future::pending().await,
        },
    }
}
