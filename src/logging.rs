//! The roles' own logs: one file each below the data folder, bounded.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Beyond this many bytes the file becomes `FILE.1` and a new one begins.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// nlink warns of every look for an interface that is not there, which is how the engine learns that it is not.
const DEFAULT_FILTER: &str = "info,nlink=error";

/// Sends this process's tracing to `path`, and its panics too. `SLIPWAY_LOG` filters, as in `info,router=debug`.
pub(crate) fn to_file(path: &Path) -> anyhow::Result<()> {
    let writer = RotatingFile::open(path)
        .with_context(|| format!("the log file {} can't be opened", path.display()))?;
    let filter =
        EnvFilter::try_from_env("SLIPWAY_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(writer)
        .init();
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a task panicked")));
    Ok(())
}

#[derive(Debug, Clone)]
struct RotatingFile(Arc<Mutex<Current>>);

#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: File,
    size: u64,
}

impl RotatingFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = append(path)?;
        let size = file.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Current {
            path: path.to_owned(),
            file,
            size,
        }))))
    }
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut current = self.0.lock().expect("no panic while held");
        if current.size >= MAX_BYTES {
            let mut old = current.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&current.path, old)?;
            current.file = append(&current.path)?;
            current.size = 0;
        }
        let written = current.file.write(bytes)?;
        current.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for RotatingFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
