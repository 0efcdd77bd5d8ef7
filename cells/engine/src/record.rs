//! What an engine remembers of its containers on disk: one small file each, without secrets.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{ContainerSpec, EngineError};

/// One container of an engine, from before its start until after its removal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

/// The records of one engine, as files in `STATE/containers`.
#[derive(Debug, Clone)]
pub(crate) struct Records(PathBuf);

impl Records {
    pub(crate) fn open(state: &Path) -> Result<Self, EngineError> {
        let dir = state.join("containers");
        std::fs::create_dir_all(&dir)
            .map_err(EngineError::io(format!("make {}", dir.display())))?;
        Ok(Self(dir))
    }

    pub(crate) fn write(&self, record: &Record) -> Result<(), EngineError> {
        let path = self.path(&record.name);
        let fresh = path.with_extension("new");
        let written = serde_json::to_vec(record)
            .map_err(io::Error::from)
            .and_then(|text| std::fs::write(&fresh, text))
            .and_then(|()| std::fs::rename(&fresh, &path));
        written.map_err(EngineError::io(format!("write {}", path.display())))
    }

    /// All records; files that are not records are left alone.
    pub(crate) fn read_all(&self) -> Result<HashMap<String, Record>, EngineError> {
        let failed = || EngineError::io(format!("read {}", self.0.display()));
        let mut records = HashMap::new();
        for entry in std::fs::read_dir(&self.0).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
                && let Ok(text) = std::fs::read(&path)
                && let Ok(record) = serde_json::from_slice::<Record>(&text)
            {
                records.insert(record.name.clone(), record);
            }
        }
        Ok(records)
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), EngineError> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(EngineError::io(format!("remove {}", path.display()))(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }
}

/// Refuses what would be unsafe as a file or cgroup name, or could not be run at all.
pub(crate) fn check(spec: &ContainerSpec) -> Result<(), EngineError> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if spec.name.is_empty() || spec.name.len() > 64 || !spec.name.chars().all(fine) {
        return Err(EngineError::Setup(
            "a container's name is 1 to 64 of a-z, 0-9 and '-'".to_owned(),
        ));
    }
    if spec.args.is_empty() {
        return Err(EngineError::Setup("the command is empty".to_owned()));
    }
    Ok(())
}

/// Removes all of a container's folder but its output. Nothing in it is mounted on this side.
pub(crate) fn clear_folder(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name() == cells_shim::protocol::LOG_DIR {
            continue;
        }
        let removed = if entry.file_type()?.is_dir() {
            crate::folders::remove(&entry.path())
        } else {
            std::fs::remove_file(entry.path())
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Runs file-system work of an engine where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
