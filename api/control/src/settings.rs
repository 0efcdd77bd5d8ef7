//! How this installation is reached and where it keeps its things.

use std::path::PathBuf;

use model::protocol::cell::Isolation;
use model::secret::Secret;

/// What the server needs to know at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of database, blobs, keys and scratch files.
    pub data: PathBuf,
    /// Apps get routes below this domain, the control plane's hosts too.
    pub domain: String,
    /// The front port that clients use.
    pub front_port: u16,
    /// Name of the first user.
    pub admin_user: String,
    /// Sets the first user's password; without it a stored one stays, or a new one is made.
    pub admin_password: Option<Secret>,
    pub version: String,
    pub bounds: Bounds,
}

/// How much of the disk the server may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the disk that stay free, if somebody said how many.
    pub keep_free: Option<u64>,
    /// Bytes of all packages together.
    pub package_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            keep_free: None,
            package_bytes: store::collect::Rules::DEFAULT.package_bytes,
        }
    }
}

impl Bounds {
    const MOST_KEPT_FREE: u64 = 1024 * 1024 * 1024;

    /// Bytes to keep free of a disk of `size` bytes: 1 GiB, and of a small disk a twentieth.
    #[must_use]
    pub fn floor(&self, size: u64) -> u64 {
        self.keep_free
            .unwrap_or_else(|| Self::MOST_KEPT_FREE.min(size / 20))
    }
}

/// The same, as clients see it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://api.DOMAIN:PORT`
    pub external_url: String,
    pub domain: String,
    pub front_port: u16,
    /// Hosts that lead to the control plane and can be no app's.
    pub control_hosts: Vec<String>,
    pub version: String,
}

impl Config {
    /// Host labels below the domain that are the control plane's own.
    const RESERVED: &'static [&'static str] = &[
        "api",
        "console",
        "login",
        "uaa",
        "log-cache",
        "git",
        "registry",
        "ssh",
    ];

    #[must_use]
    pub fn settings(&self) -> Settings {
        let port = if self.front_port == 80 {
            String::new()
        } else {
            format!(":{}", self.front_port)
        };
        let mut control_hosts = vec![self.domain.clone()];
        control_hosts.extend(
            Self::RESERVED
                .iter()
                .map(|label| format!("{label}.{}", self.domain)),
        );
        Settings {
            external_url: format!("http://api.{}{port}", self.domain),
            domain: self.domain.clone(),
            front_port: self.front_port,
            control_hosts,
            version: self.version.clone(),
        }
    }
}

impl Settings {
    /// `host.domain:port/path` as people type it; the port stands where it is not the scheme's own.
    #[must_use]
    pub fn url_of(&self, host: &str, domain: &str, path: &str) -> String {
        let name = if host.is_empty() {
            domain.to_owned()
        } else {
            format!("{host}.{domain}")
        };
        match self.front_port {
            80 | 443 => format!("{name}{path}"),
            port => format!("{name}:{port}{path}"),
        }
    }
}

/// The weakest isolation among connected cells decides what clients are told.
#[must_use]
pub(crate) fn weakest(isolations: impl Iterator<Item = Isolation>) -> Option<Isolation> {
    isolations.max_by_key(|isolation| match isolation {
        Isolation::Container => 0,
        Isolation::Process => 1,
    })
}
