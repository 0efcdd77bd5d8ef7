//! What a running platform was started with, kept so that the next `up` and `down` find the same parts of the host.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use model::protocol::cell::Isolation;
use serde::{Deserialize, Serialize};

use super::{AdminAddress, Args, network};
use crate::paths::Paths;
use crate::roles::cell::{BudgetArgs, EngineArgs};
use crate::roles::server::BoundsArgs;
use crate::run_file::{self, Lasts};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) domain: String,
    pub(crate) front: SocketAddr,
    pub(crate) isolation: Isolation,
    /// First address of the instances' own network.
    pub(crate) pool: IpAddr,
    pub(crate) admin: Option<SocketAddr>,
    /// The socket of metrics and health, where it is not the one in the data folder.
    #[serde(default)]
    pub(super) admin_socket: Option<PathBuf>,
    #[serde(default)]
    pub(super) budgets: BudgetArgs,
    #[serde(default)]
    pub(super) bounds: BoundsArgs,
    #[serde(default)]
    pub(super) trusted_proxies: Vec<String>,
    #[serde(default)]
    pub(super) insecure_http: bool,
    /// Whether the platform was ready once, and so may have apps that people use.
    #[serde(default)]
    pub(super) has_been_ready: bool,
}

pub(super) fn isolation(args: &Args) -> Isolation {
    if args.isolation == "process" {
        Isolation::Process
    } else {
        Isolation::Container
    }
}

fn trusted_proxies(args: &Args) -> Vec<String> {
    args.trusted_proxy.iter().map(ToString::to_string).collect()
}

fn parts(admin: &AdminAddress) -> (Option<SocketAddr>, Option<PathBuf>) {
    match admin {
        AdminAddress::Own => (None, None),
        AdminAddress::Unix(path) => (None, Some(path.clone())),
        AdminAddress::Tcp(address) => (Some(*address), None),
    }
}

impl Settings {
    pub(super) fn decide(
        paths: &Paths,
        args: &Args,
        admin: &AdminAddress,
        front: SocketAddr,
    ) -> anyhow::Result<Self> {
        let known = Self::load(paths)?;
        let has_been_ready = known.as_ref().is_some_and(|known| known.has_been_ready);
        let pool = match known {
            Some(known) => known.pool,
            None => network::free_pool(paths.data())?,
        };
        let (admin, admin_socket) = parts(admin);
        Ok(Self {
            domain: args.domain.clone(),
            front,
            isolation: isolation(args),
            pool,
            admin,
            admin_socket,
            budgets: args.budgets,
            bounds: args.bounds.clone(),
            trusted_proxies: trusted_proxies(args),
            insecure_http: args.insecure_http,
            has_been_ready,
        })
    }

    /// Whether children that were started with these settings are what is asked for now. The front port is looked at where
    /// it is taken over.
    pub(super) fn fit(&self, args: &Args, admin: &AdminAddress) -> bool {
        self.domain == args.domain
            && self.isolation == isolation(args)
            && self.budgets == args.budgets
            && (self.admin, self.admin_socket.clone()) == parts(admin)
            && self.bounds == args.bounds
            && self.trusted_proxies == trusted_proxies(args)
            && self.insecure_http == args.insecure_http
    }

    /// What the last `up` was started with; none where there was none.
    pub(crate) fn load(paths: &Paths) -> anyhow::Result<Option<Self>> {
        match std::fs::read(paths.settings()) {
            Ok(bytes) => {
                let settings = serde_json::from_slice(&bytes);
                settings
                    .map(Some)
                    .with_context(|| format!("{} is not readable", paths.settings().display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("{} is not readable", paths.settings().display())),
        }
    }

    pub(super) fn note_ready(&self, paths: &Paths) -> anyhow::Result<()> {
        if self.has_been_ready {
            return Ok(());
        }
        let ready = Self {
            has_been_ready: true,
            ..self.clone()
        };
        ready.save(paths)
    }

    pub(super) fn save(&self, paths: &Paths) -> anyhow::Result<()> {
        let write = || -> anyhow::Result<()> {
            let bytes = serde_json::to_vec_pretty(self)?;
            Ok(run_file::replace(
                paths,
                &paths.settings(),
                &bytes,
                Lasts::ForEver,
            )?)
        };
        write().with_context(|| format!("{} can't be written", paths.settings().display()))
    }

    pub(crate) fn engine_args(&self) -> EngineArgs {
        let platform = std::iter::once(self.front).chain(self.admin).collect();
        EngineArgs {
            isolation: self.isolation,
            pool: self.pool,
            platform,
        }
    }

    /// The address of the API in a form that needs no DNS.
    pub(crate) fn api_url(&self) -> String {
        let host = if self.front.ip().is_unspecified() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            self.front.ip()
        };
        format!("http://{}", SocketAddr::new(host, self.front.port()))
    }

    pub(crate) fn down_command(&self, paths: &Paths) -> String {
        match Paths::new(None) {
            Ok(default) if default.data() == paths.data() => "slipway down".to_owned(),
            _ => format!("slipway down --data {}", paths.data().display()),
        }
    }
}
