//! The address of metrics and health.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Where metrics and health are offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AdminAddress {
    /// The socket in the data folder.
    Own,
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl AdminAddress {
    pub(super) fn of(text: Option<&str>, insecure: bool) -> anyhow::Result<Self> {
        let address = Self::read(text)?;
        if let Self::Tcp(tcp) = &address
            && !tcp.ip().is_loopback()
            && !insecure
        {
            bail!(
                "--admin-listen {tcp} can be reached from other machines, without a password\n  try  127.0.0.1:{}, or add --insecure-http",
                tcp.port()
            );
        }
        Ok(address)
    }

    fn read(text: Option<&str>) -> anyhow::Result<Self> {
        match text {
            None => Ok(Self::Own),
            Some(text) if text.starts_with(['/', '.']) => Ok(Self::Unix(
                std::path::absolute(Path::new(text)).context("--admin-listen")?,
            )),
            Some(text) => {
                let address = text.parse().ok();
                let address = address.filter(|address: &SocketAddr| address.port() != 0);
                address.map(Self::Tcp).with_context(|| {
                    format!("--admin-listen '{text}': name a unix socket by its path, which begins with '/' or '.', or give ADDR:PORT")
                })
            }
        }
    }
}
