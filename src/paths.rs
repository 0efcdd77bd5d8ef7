//! Where one platform keeps its things below its data folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The layout of a data folder.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    data: PathBuf,
}

/// Bytes of a unix socket's path, its end included (`sockaddr_un`).
const MAX_SOCKET_PATH: usize = 108;

impl Paths {
    /// `data` or the default: `/var/lib/slipway` as root, else below the user's data home.
    pub(crate) fn new(data: Option<PathBuf>) -> anyhow::Result<Self> {
        let data = match data {
            Some(data) => data,
            None => default_data()?,
        };
        let data = std::path::absolute(&data)
            .with_context(|| format!("'{}' is not a folder's name", data.display()))?;
        if data.to_str().is_none() {
            bail!(
                "the data folder's path '{}' is not UTF-8, so it can't be handed to the platform's processes: choose another --data",
                data.display()
            );
        }
        let paths = Self { data };
        let longest = paths.internal_socket();
        if longest.as_os_str().len() >= MAX_SOCKET_PATH {
            bail!(
                "the data folder's path is too long for unix sockets ({} would be {} bytes, {} are possible): choose a shorter --data",
                longest.display(),
                longest.as_os_str().len(),
                MAX_SOCKET_PATH - 1
            );
        }
        Ok(paths)
    }

    /// Makes the folders, readable by their owner only. A folder that holds other things than a platform's keeps its mode.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        let create = || -> std::io::Result<()> {
            if let Some(parent) = self.data.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let is_own = self.lock().exists()
                || std::fs::read_dir(&self.data)
                    .map_or(true, |mut entries| entries.next().is_none());
            for folder in [
                self.data.clone(),
                self.run(),
                self.logs(),
                self.server_data(),
            ] {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(&folder)?;
            }
            // Instances of other users pass through the folder to their own files, but cannot look around.
            if is_own {
                std::fs::set_permissions(&self.data, std::fs::Permissions::from_mode(0o711))?;
            }
            // Sources, the database and its keys, sockets, logs.
            [self.run(), self.logs(), self.server_data()]
                .iter()
                .try_for_each(|folder| {
                    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
                })
        };
        create().with_context(|| {
            format!(
                "the data folder {} can't be used; choose another with --data",
                self.data.display()
            )
        })
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.data.join("run")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.data.join("log")
    }

    pub(crate) fn log(&self, role: &str) -> PathBuf {
        self.logs().join(format!("{role}.log"))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.run().join("up.lock")
    }

    pub(crate) fn pid(&self, role: &str) -> PathBuf {
        self.run().join(format!("{role}.pid"))
    }

    /// When the process that the pid file names was started, so that a reused pid is told apart.
    pub(crate) fn started(&self, role: &str) -> PathBuf {
        self.run().join(format!("{role}.started"))
    }

    /// The settings that the running platform was started with.
    pub(crate) fn settings(&self) -> PathBuf {
        self.run().join("settings.json")
    }

    pub(crate) fn api_socket(&self) -> PathBuf {
        self.run().join("api.sock")
    }

    pub(crate) fn internal_socket(&self) -> PathBuf {
        self.run().join("internal.sock")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.run().join("admin.sock")
    }

    pub(crate) fn server_data(&self) -> PathBuf {
        self.data.join("server")
    }

    pub(crate) fn admin_password(&self) -> PathBuf {
        self.server_data().join("admin-password")
    }

    pub(crate) fn cell_data(&self) -> PathBuf {
        self.data.join("cell")
    }

    pub(crate) fn engine_state(&self) -> PathBuf {
        self.data.join("engine")
    }

    pub(crate) fn route_table(&self) -> PathBuf {
        self.data.join("routes.json")
    }
}

fn default_data() -> anyhow::Result<PathBuf> {
    if is_root() {
        return Ok(PathBuf::from("/var/lib/slipway"));
    }
    if let Some(home) = std::env::var_os("XDG_DATA_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home).join("slipway"));
    }
    let home = std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .context("HOME is not set: name a folder with --data")?;
    Ok(PathBuf::from(home).join(".local/share/slipway"))
}

#[allow(unsafe_code, reason = "the standard library has no geteuid")]
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
