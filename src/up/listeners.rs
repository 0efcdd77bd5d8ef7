//! The platform's listeners: taken over from running children, or bound.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::{AdminAddress, Adopted, Args, DRAIN};
use crate::paths::Paths;
use crate::roles::server::FIRST_INHERITED_FD;

#[derive(Debug)]
pub(super) struct Listeners {
    front: OwnedFd,
    api: OwnedFd,
    internal: OwnedFd,
    admin: OwnedFd,
}

impl Listeners {
    /// Children that still run keep their listeners, so that no connection is lost. A server that is gone takes none of the
    /// front port's with it: its sockets are bound anew, by the same names. Without a router, or where another front port is
    /// asked for, all are ended first.
    pub(super) async fn obtain(
        paths: &Paths,
        args: &Args,
        admin: &AdminAddress,
        adopted: &mut Adopted,
    ) -> anyhow::Result<Self> {
        let Some(front) = take_over_front(adopted, args) else {
            adopted.end().await;
            return Self::bind(paths, args, admin);
        };
        match take_over_control(adopted) {
            Some([api, internal, admin]) => Ok(Self {
                front,
                api,
                internal,
                admin,
            }),
            None => {
                if let Some(mut server) = adopted.server.take() {
                    server.stop(DRAIN).await;
                }
                Self::bind_control(front, paths, admin)
            }
        }
    }

    fn bind(paths: &Paths, args: &Args, admin: &AdminAddress) -> anyhow::Result<Self> {
        let front =
            TcpListener::bind(args.listen).map_err(|error| front_error(error, args.listen))?;
        Self::bind_control(front.into(), paths, admin)
    }

    fn bind_control(front: OwnedFd, paths: &Paths, admin: &AdminAddress) -> anyhow::Result<Self> {
        let admin = match admin {
            AdminAddress::Own => bind_unix(&paths.admin_socket())?,
            AdminAddress::Unix(path) => bind_unix(path)?,
            AdminAddress::Tcp(address) => TcpListener::bind(address)
                .with_context(|| format!("--admin-listen {address} can't be opened"))?
                .into(),
        };
        Ok(Self {
            front,
            api: bind_unix(&paths.api_socket())?,
            internal: bind_unix(&paths.internal_socket())?,
            admin,
        })
    }

    pub(super) fn front_address(&self) -> anyhow::Result<SocketAddr> {
        let front = TcpListener::from(self.front.as_fd().try_clone_to_owned()?);
        front.local_addr().context("the front port has no address")
    }

    pub(super) fn router(&self) -> Vec<OwnedFd> {
        self.copies(&[&self.front])
    }

    pub(super) fn server(&self) -> Vec<OwnedFd> {
        self.copies(&[&self.api, &self.internal, &self.admin])
    }

    fn copies(&self, fds: &[&OwnedFd]) -> Vec<OwnedFd> {
        fds.iter()
            .map(|fd| {
                fd.try_clone()
                    .expect("a process may have a few more descriptors")
            })
            .collect()
    }
}

/// The front port of a router that runs, where it is the one that is asked for.
fn take_over_front(adopted: &Adopted, args: &Args) -> Option<OwnedFd> {
    let front = adopted.router.as_ref()?.copy_fd(FIRST_INHERITED_FD).ok()?;
    let address = TcpListener::from(front.try_clone().ok()?)
        .local_addr()
        .ok()?;
    (address == args.listen || args.listen.port() == 0).then_some(front)
}

/// The sockets of a server that runs: API, internal, admin.
fn take_over_control(adopted: &Adopted) -> Option<[OwnedFd; 3]> {
    let server = adopted.server.as_ref()?;
    let [api, internal, admin] =
        [0, 1, 2].map(|offset| server.copy_fd(FIRST_INHERITED_FD + offset).ok());
    Some([api?, internal?, admin?])
}

/// Binds a socket that only its owner can open. One that nobody holds any more is replaced: the data folder is locked.
fn bind_unix(path: &Path) -> anyhow::Result<OwnedFd> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    match std::fs::symlink_metadata(path) {
        Ok(known) if !known.file_type().is_socket() => bail!(
            "the socket {} can't be made: something else is there already",
            path.display()
        ),
        _ => {}
    }
    let bind = || -> io::Result<UnixListener> {
        if path.exists() {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    Ok(bind()
        .with_context(|| format!("the socket {} can't be made", path.display()))?
        .into())
}

fn front_error(error: io::Error, listen: SocketAddr) -> anyhow::Error {
    let text = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {} of {} is in use by another program\n  try  slipway up --listen {}:{}",
            listen.port(),
            listen.ip(),
            listen.ip(),
            listen.port().checked_add(1).unwrap_or(8080)
        ),
        io::ErrorKind::PermissionDenied => format!(
            "port {} may only be opened by root\n  try  slipway up --listen {}:8080",
            listen.port(),
            listen.ip()
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{} is no address of this host\n  try  slipway up --listen 127.0.0.1:{}",
            listen.ip(),
            listen.port()
        ),
        _ => format!("the address {listen} can't be opened: {error}"),
    };
    anyhow::anyhow!(text)
}
