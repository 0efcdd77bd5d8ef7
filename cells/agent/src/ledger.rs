//! The cell's memory on disk: who it is, the highest epoch it obeyed, and one small file per instance and task.
//!
//! Nothing secret is ever in it: no environment, no commands. What an order needs beyond this lives only as long as the
//! agent, and what had not begun when the agent went is reported as lost.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::droplet::{Layer, Stack};
use model::health::HealthCheck;
use model::ids::{AppId, BuildId, CellId, Incarnation, InstanceId, ProcessId, TaskId, VersionId};
use model::instance::{ExitReason, InstanceReport, InstanceState};
use model::limits::Limits;
use model::protocol::cell::{InstanceSpec, StagingSpec, TaskSpec};
use model::task::{TaskReport, TaskState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{clock, durable};

const MAX_FILE_BYTES: u64 = 1024 * 1024;
const IDENTITY: &str = "cell.json";
/// Folders with a file for each instance or task.
const PARTS: [&str; 2] = ["instances", "tasks"];

#[derive(Debug)]
pub(crate) struct Ledger {
    folder: PathBuf,
    identity: Mutex<Identity>,
    /// Whether the host was started anew since the ledger was last opened.
    pub(crate) rebooted: bool,
}

/// A ledger that was read, and whose new incarnation, if there is one, is not on disk yet.
#[derive(Debug)]
pub(crate) struct Found {
    ledger: Ledger,
    /// Nothing was there that could be read.
    pub(crate) begins: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Identity {
    cell: CellId,
    /// Drawn when the ledger was made.
    nonce: Incarnation,
    boot_id: String,
    epoch: u64,
}

/// What is remembered of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InstanceRecord {
    pub(crate) instance: InstanceId,
    pub(crate) app: AppId,
    pub(crate) app_name: String,
    pub(crate) process: ProcessId,
    pub(crate) process_type: String,
    pub(crate) version: VersionId,
    pub(crate) index: u32,
    pub(crate) layers: Vec<Layer>,
    pub(crate) limits: Limits,
    pub(crate) health: HealthCheck,
    pub(crate) grace: Duration,
    #[serde(flatten)]
    pub(crate) state: InstanceState,
    pub(crate) since_us: i64,
    /// Why the cell itself decided to end it; absent where a stop was ordered.
    pub(crate) verdict: Option<ExitReason>,
}

/// What is remembered of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskRecord {
    pub(crate) task: TaskId,
    pub(crate) app: AppId,
    pub(crate) app_name: String,
    pub(crate) limits: Limits,
    #[serde(flatten)]
    pub(crate) work: TaskWork,
    #[serde(flatten)]
    pub(crate) state: TaskState,
    pub(crate) since_us: i64,
    /// Why its end was decided before it ended; [`ExitReason::Stopped`] where that was ordered.
    pub(crate) verdict: Option<ExitReason>,
    /// How many agents began to take in what it left and neither came to the end of it nor left in order.
    #[serde(default)]
    pub(crate) taken_in: u32,
}

/// What a task does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub(crate) enum TaskWork {
    Build(BuildWork),
    Command(CommandWork),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BuildWork {
    pub(crate) build: BuildId,
    pub(crate) stack: Stack,
    pub(crate) timeout: Duration,
}

/// A command of an app that runs once, beside its instances.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CommandWork {
    pub(crate) name: String,
    pub(crate) sequence: u32,
    pub(crate) layers: Vec<Layer>,
    pub(crate) grace: Duration,
}

/// An order of a leader that has been replaced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EpochError {
    #[error("epoch {got} is over: this cell has obeyed epoch {seen}")]
    Over { got: u64, seen: u64 },
    #[error("could not record epoch {epoch} in the ledger")]
    Unrecorded {
        epoch: u64,
        #[source]
        source: io::Error,
    },
}

impl InstanceRecord {
    pub(crate) fn new(spec: &InstanceSpec) -> Self {
        Self {
            instance: spec.instance,
            app: spec.app,
            app_name: spec.app_name.clone(),
            process: spec.process,
            process_type: spec.process_type.clone(),
            version: spec.version,
            index: spec.index,
            layers: spec.layers.clone(),
            limits: spec.limits,
            health: spec.health.clone(),
            grace: spec.grace,
            state: InstanceState::Starting,
            since_us: clock::now_us(),
            verdict: None,
        }
    }

    pub(crate) fn report(&self) -> InstanceReport {
        InstanceReport {
            instance: self.instance,
            app: self.app,
            process: self.process,
            version: self.version,
            index: self.index,
            state: self.state.clone(),
            since_us: self.since_us,
        }
    }
}

impl TaskRecord {
    pub(crate) fn of_build(spec: &StagingSpec, stack: Stack) -> Self {
        Self {
            task: spec.task,
            app: spec.app,
            app_name: spec.app_name.clone(),
            limits: spec.limits,
            work: TaskWork::Build(BuildWork {
                build: spec.build,
                stack,
                timeout: spec.timeout,
            }),
            state: TaskState::Accepted,
            since_us: clock::now_us(),
            verdict: None,
            taken_in: 0,
        }
    }

    pub(crate) fn of_command(spec: &TaskSpec) -> Self {
        Self {
            task: spec.task,
            app: spec.app,
            app_name: spec.app_name.clone(),
            limits: spec.limits,
            work: TaskWork::Command(CommandWork {
                name: spec.name.clone(),
                sequence: spec.sequence,
                layers: spec.layers.clone(),
                grace: spec.grace,
            }),
            state: TaskState::Accepted,
            since_us: clock::now_us(),
            verdict: None,
            taken_in: 0,
        }
    }

    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.state, TaskState::Done { .. })
    }

    pub(crate) fn report(&self) -> TaskReport {
        TaskReport {
            task: self.task,
            state: self.state.clone(),
        }
    }
}

impl Ledger {
    /// Reads the ledger below `folder`, or begins one.
    pub(crate) fn find(folder: &Path, boot_id: &str) -> io::Result<Found> {
        let file = folder.join(IDENTITY);
        let (mut identity, begins) = match durable::read_json::<Identity>(&file, MAX_FILE_BYTES) {
            Ok(identity) => (identity, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (Identity::begin(boot_id), true)
            }
            // The system's errors may pass; what it reads well and is no identity stays none.
            Err(error) if error.raw_os_error().is_none() => {
                tracing::error!(file = %file.display(), %error, "this cell cannot read who it is, and begins anew as another cell; its ledger was put aside");
                put_aside(folder)?;
                (Identity::begin(boot_id), true)
            }
            Err(error) => return Err(error),
        };
        for part in PARTS {
            fs::create_dir_all(folder.join(part))?;
        }
        let rebooted = identity.boot_id != boot_id;
        boot_id.clone_into(&mut identity.boot_id);
        let ledger = Self {
            folder: folder.to_owned(),
            identity: Mutex::new(identity),
            rebooted,
        };
        Ok(Found { ledger, begins })
    }

    pub(crate) fn cell(&self) -> CellId {
        self.identity().cell
    }

    /// Another one after the disk was lost and after every start of the host.
    pub(crate) fn incarnation(&self) -> Incarnation {
        let identity = self.identity();
        let mut hash = Sha256::new();
        hash.update(identity.nonce.to_string());
        hash.update([0]);
        hash.update(&identity.boot_id);
        let hex: String = hash
            .finalize()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        hex.parse().expect("32 hex digits are a GUID")
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.identity().epoch
    }

    /// Obeys `epoch`: on disk before this returns if it is a new one. Blocks.
    pub(crate) fn obey(&self, epoch: u64) -> Result<(), EpochError> {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = identity.epoch;
        if epoch < seen {
            return Err(EpochError::Over { got: epoch, seen });
        }
        if epoch > seen {
            let next = Identity {
                epoch,
                ..identity.clone()
            };
            durable::write_json(&self.folder.join(IDENTITY), &next)
                .map_err(|source| EpochError::Unrecorded { epoch, source })?;
            *identity = next;
        }
        Ok(())
    }

    pub(crate) fn save_instance(&self, record: &InstanceRecord) -> io::Result<()> {
        durable::write_json(&self.file("instances", record.instance), record)
    }

    pub(crate) fn forget_instance(&self, instance: InstanceId) -> io::Result<()> {
        durable::remove_all(&self.file("instances", instance))
    }

    pub(crate) fn instances(&self) -> io::Result<Vec<InstanceRecord>> {
        read_all(&self.folder.join("instances"))
    }

    pub(crate) fn save_task(&self, record: &TaskRecord) -> io::Result<()> {
        durable::write_json(&self.file("tasks", record.task), record)
    }

    pub(crate) fn forget_task(&self, task: TaskId) -> io::Result<()> {
        durable::remove_all(&self.file("tasks", task))
    }

    pub(crate) fn tasks(&self) -> io::Result<Vec<TaskRecord>> {
        read_all(&self.folder.join("tasks"))
    }

    fn file(&self, part: &str, id: impl std::fmt::Display) -> PathBuf {
        self.folder.join(part).join(format!("{id}.json"))
    }

    fn identity(&self) -> Identity {
        self.identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Found {
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether the host may have been started anew since the data folder was last written to.
    pub(crate) const fn may_have_rebooted(&self) -> bool {
        self.begins || self.ledger.rebooted
    }

    /// Opens it; from then on there is no way back to an earlier incarnation.
    pub(crate) fn open(self) -> io::Result<Ledger> {
        if self.may_have_rebooted() {
            let ledger = &self.ledger;
            durable::write_json(&ledger.folder.join(IDENTITY), &ledger.identity())?;
        }
        Ok(self.ledger)
    }
}

impl Identity {
    fn begin(boot_id: &str) -> Self {
        Self {
            cell: CellId::random(),
            nonce: Incarnation::random(),
            boot_id: boot_id.to_owned(),
            epoch: 0,
        }
    }
}

/// Renames all of a ledger, the identity last, so that an agent that is killed meanwhile is followed by one that goes on.
/// What another cell was told to run is not this one's: its containers are the leader's to decide about.
fn put_aside(folder: &Path) -> io::Result<()> {
    for part in PARTS.into_iter().chain([IDENTITY]) {
        let from = folder.join(part);
        let to = from.with_extension("unreadable");
        if from.exists() {
            durable::remove_all(&to)?;
            fs::rename(from, to)?;
        }
    }
    Ok(())
}

/// All records of a folder. A file that cannot be read is put aside, so that one bad sector does not stop a cell.
fn read_all<T: DeserializeOwned>(folder: &Path) -> io::Result<Vec<T>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => {}
            // Of an agent that was killed while it wrote: the record before, if any, still stands.
            Some("new") => {
                durable::remove_all(&path)?;
                continue;
            }
            _ => continue,
        }
        match durable::read_json(&path, MAX_FILE_BYTES) {
            Ok(record) => records.push(record),
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "a ledger file is unreadable and was put aside");
                fs::rename(&path, path.with_extension("unreadable"))?;
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path, boot_id: &str) -> Ledger {
        Ledger::find(folder, boot_id).unwrap().open().unwrap()
    }

    #[test]
    fn a_reboot_is_a_new_incarnation_of_the_same_cell() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), "boot-1");
        let again = open(folder.path(), "boot-1");
        assert_eq!(
            (first.cell(), first.incarnation()),
            (again.cell(), again.incarnation())
        );
        assert!(!again.rebooted);
        let rebooted = open(folder.path(), "boot-2");
        assert!(rebooted.rebooted && rebooted.cell() == first.cell());
        assert_ne!(rebooted.incarnation(), first.incarnation());
    }

    #[test]
    fn a_lower_epoch_is_refused_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(folder.path(), "b");
        ledger.obey(7).unwrap();
        ledger.obey(7).unwrap();
        assert!(matches!(
            ledger.obey(6),
            Err(EpochError::Over { got: 6, seen: 7 })
        ));
        let ledger = open(folder.path(), "b");
        assert_eq!(ledger.epoch(), 7);
        assert!(ledger.obey(3).is_err());
    }

    #[test]
    fn a_cell_that_cannot_read_who_it_is_begins_anew_as_another() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path(), "b");
        first.obey(7).unwrap();
        for text in ["{", ""] {
            fs::write(folder.path().join("instances/x.json"), "{}").unwrap();
            fs::write(folder.path().join("cell.json"), text).unwrap();
            let other = open(folder.path(), "b");
            assert!(other.cell() != first.cell() && other.epoch() == 0);
            assert!(other.instances().unwrap().is_empty() && other.tasks().unwrap().is_empty());
            assert!(folder.path().join("instances.unreadable/x.json").exists());
            assert_eq!(
                fs::read_to_string(folder.path().join("cell.unreadable")).unwrap(),
                text
            );
            assert_eq!(open(folder.path(), "b").cell(), other.cell());
        }
    }

    #[test]
    fn an_unreadable_record_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(folder.path(), "b");
        fs::write(folder.path().join("instances/x.json"), "{").unwrap();
        assert!(ledger.instances().unwrap().is_empty());
        assert!(folder.path().join("instances/x.unreadable").exists());
    }
}
