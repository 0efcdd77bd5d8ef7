//! The last route table on disk, from which a router starts while no server answers.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::protocol::router::RouteTable;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::table::SharedTable;

/// Changes within this time are written together.
const SETTLE: Duration = Duration::from_millis(200);
/// Writing takes at most one part in this many of the time, however large the table and however often it changes.
const REST_FOR_ONE_WRITE: u32 = 20;
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// The table of the last run; `None` where there is none or it cannot be used, which is logged.
pub(crate) fn load(path: &Path) -> Option<RouteTable> {
    match read(path) {
        Ok(table) => Some(table),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot use the stored route table; waiting for the server's");
            None
        }
    }
}

fn read(path: &Path) -> io::Result<RouteTable> {
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {MAX_FILE_BYTES} bytes"),
        ));
    }
    serde_json::from_slice(&text).map_err(io::Error::from)
}

/// Replaces the file as a whole: a reader finds the old table or the new one.
fn write(path: &Path, table: &RouteTable) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer(&mut writer, table)?;
    writer.flush()?;
    writer.get_ref().sync_data()?;
    fs::rename(&fresh, path)
}

/// Writes the table after each change until the shutdown, and then once more.
pub(crate) async fn keep(
    path: PathBuf,
    table: SharedTable,
    changed: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut pause = SETTLE;
    loop {
        let is_last = tokio::select! {
            biased;
            () = changed.notified() => tokio::select! {
                () = tokio::time::sleep(pause) => false,
                () = shutdown.cancelled() => true,
            },
            () = shutdown.cancelled() => return,
        };
        let begun = Instant::now();
        store(path.clone(), table.clone()).await;
        pause = SETTLE.max(begun.elapsed() * REST_FOR_ONE_WRITE);
        if is_last {
            return;
        }
    }
}

async fn store(path: PathBuf, table: SharedTable) {
    let shown = path.display().to_string();
    let work = move || {
        let contents = table.read().contents();
        contents.map_or(Ok(()), |contents| write(&path, &contents.into_message()))
    };
    let written = tokio::task::spawn_blocking(work)
        .await
        .expect("writing a table does not panic");
    if let Err(error) = written {
        tracing::warn!(path = shown, %error, "cannot store the route table; a restart without a server would lose routes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_file_is_no_table_and_a_written_one_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("routes.json");
        assert_eq!(load(&path), None);
        fs::write(&path, "{\"version\": 1, \"entr").expect("write");
        assert_eq!(load(&path), None);
        let table = RouteTable {
            version: 3,
            control_hosts: vec!["api.test".to_owned()],
            entries: vec![],
        };
        write(&path, &table).expect("store");
        assert_eq!(load(&path), Some(table));
        assert_eq!(
            fs::read_dir(folder.path()).expect("list").count(),
            1,
            "no temporary file stays"
        );
    }
}
