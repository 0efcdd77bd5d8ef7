//! What an agent needs to know before it starts.

use std::path::{Path, PathBuf};

use model::limits::Megabytes;
use model::protocol::cell::CellCapacity;

/// How one cell's agent is set up. [`Config::new`] fills in the defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cell's own folder: ledger, layers, containers, logs, caches.
    pub data: PathBuf,
    /// The server's internal unix socket.
    pub server_socket: PathBuf,
    /// For people; appears in log lines.
    pub name: String,
    pub zone: String,
    /// The `slipway` binary; bound read-only at `/.slipway/slipway` in containers.
    pub exe: PathBuf,
    /// What the cell offers, where that shall not be measured.
    pub capacity: Option<CellCapacity>,
    /// Free disk space below which nothing new begins, where that shall not follow from the size of the disk.
    pub min_free_disk: Option<Megabytes>,
    /// Builds that run at the same time; further ones wait in order.
    pub concurrent_builds: usize,
    pub budgets: Budgets,
    pub host: HostSettings,
}

/// Bytes that the agent's own stores may take. Beyond them the longest unused goes first.
#[derive(Debug, Clone, Copy)]
pub struct Budgets {
    /// Output of one running instance or build; the oldest is dropped.
    pub live_log: u64,
    /// Logs of ended instances and builds, of one app.
    pub app_logs: u64,
    /// Logs of ended instances and builds, of all apps.
    pub all_logs: u64,
    /// Unpacked layers that nothing uses now.
    pub layers: u64,
    /// Build cache of one app; a larger one is dropped whole.
    pub app_build_cache: u64,
    /// Build caches of all apps.
    pub all_build_caches: u64,
}

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

impl Budgets {
    /// Less where the file system of `data` is small: a twentieth for layers, as much for build caches.
    ///
    /// # Errors
    /// Where that file system cannot be asked.
    pub fn for_disk_of(data: &Path) -> std::io::Result<Self> {
        // The folder itself may not have been made yet.
        let there = data.ancestors().find(|folder| folder.exists());
        let total = crate::capacity::total_disk(there.unwrap_or(data))?;
        Ok(Self::default().within(total))
    }

    /// Sizes are whole powers of two, so that they stay what they are when a disk grows a little.
    fn within(self, total: u64) -> Self {
        let share = |parts: u64| {
            let bytes = (total / parts).max(MIB);
            1 << (u64::BITS - 1 - bytes.leading_zeros())
        };
        let all_build_caches = self.all_build_caches.min(share(20));
        Self {
            layers: self.layers.min(share(20)),
            all_build_caches,
            app_build_cache: self.app_build_cache.min(all_build_caches / 2),
            all_logs: self.all_logs.min(share(100)),
            app_logs: self.app_logs.min(share(1000)),
            live_log: self.live_log,
        }
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            live_log: 16 * MIB,
            app_logs: 64 * MIB,
            all_logs: GIB,
            layers: 10 * GIB,
            app_build_cache: 2 * GIB,
            all_build_caches: 8 * GIB,
        }
    }
}

/// What builds take over from the host they run on. Proxies lose their credentials before a build sees them.
#[derive(Debug, Clone, Default)]
pub struct HostSettings {
    /// `HTTP_PROXY` and its relatives, as set for this process.
    pub proxies: Vec<(String, String)>,
    /// Search path for plain processes of the user; containers have their own.
    pub path: Option<String>,
    /// Maven's settings files, the user's first; those that do not exist are skipped.
    pub maven_settings: Vec<PathBuf>,
}

impl HostSettings {
    /// Reads this process's environment.
    #[must_use]
    pub fn from_env() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"];
        let proxies = proxies.iter().filter_map(|name| {
            let value = text(name).or_else(|| text(&name.to_lowercase()))?;
            Some(((*name).to_owned(), value))
        });
        let user = text("HOME").map(|home| PathBuf::from(home).join(".m2/settings.xml"));
        let own = text("MAVEN_HOME").map(|home| PathBuf::from(home).join("conf/settings.xml"));
        let system = [
            "/etc/maven/settings.xml",
            "/usr/share/maven/conf/settings.xml",
        ]
        .map(PathBuf::from);
        Self {
            proxies: proxies.collect(),
            path: text("PATH"),
            maven_settings: user.into_iter().chain(own).chain(system).collect(),
        }
    }
}

impl Config {
    /// A cell with defaults for everything that can have one; builds take over this process's proxies and search path.
    #[must_use]
    pub fn new(data: PathBuf, server_socket: PathBuf, exe: PathBuf) -> Self {
        Self {
            data,
            server_socket,
            name: "cell".into(),
            zone: "default".into(),
            exe,
            capacity: None,
            min_free_disk: None,
            concurrent_builds: 2,
            budgets: Budgets::default(),
            host: HostSettings::from_env(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_shrink_with_the_disk_and_never_grow_beyond_the_usual() {
        let large = Budgets::default().within(1024 * GIB);
        assert_eq!((large.layers, large.app_build_cache), (10 * GIB, 2 * GIB));
        let small = Budgets::default().within(20 * GIB);
        assert_eq!((small.layers, small.all_build_caches), (GIB, GIB));
        assert_eq!(
            (small.app_build_cache, small.all_logs),
            (GIB / 2, 128 * MIB)
        );
    }
}
