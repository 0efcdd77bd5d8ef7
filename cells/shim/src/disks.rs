//! File systems of the container's own: taken from the starter, handed into the container, and looked at as long as it runs.
//!
//! They are detached mounts, so they belong to no place of the host. When the last descriptor and the container's mount
//! namespace are gone, so are they, however it came to that.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use crate::config::Config;
use crate::protocol::{DiskFill, Fill};
use crate::sys;

/// One part in so many, and what still is free counts as nothing: a write of a usual size fails.
const FULL_SHARE: u64 = 256;

#[derive(Debug, Default)]
pub(crate) struct Disks {
    scratch: Option<Disk>,
    cache: Option<Disk>,
}

#[derive(Debug)]
struct Disk {
    mount: OwnedFd,
    /// Where it goes.
    folder: PathBuf,
}

impl Disks {
    /// Takes over the standard streams. Both become `/dev/null`, also where the configuration names no disk.
    pub(crate) fn take(config: &Config) -> io::Result<Self> {
        let take = |number, folder: &Option<PathBuf>| -> io::Result<Option<Disk>> {
            let mount = sys::take_standard(number)?;
            let folder = folder.clone();
            Ok(folder.map(|folder| Disk { mount, folder }))
        };
        let disks = &config.slipway.disks;
        Ok(Self {
            scratch: take(1, &disks.scratch)?,
            cache: take(2, &disks.cache)?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Disk> {
        self.scratch.iter().chain(&self.cache)
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.all().map(|disk| disk.mount.as_raw_fd())
    }

    /// Puts them in their places in the current mount namespace, and lets go of them.
    pub(crate) fn attach(self) -> io::Result<()> {
        for disk in self.all() {
            let place = std::fs::File::open(&disk.folder)?;
            sys::attach_mount(disk.mount.as_fd(), place.as_fd())?;
        }
        Ok(())
    }

    pub(crate) fn fill(&self) -> Fill {
        let of = |disk: &Option<Disk>| disk.as_ref().and_then(Disk::fill);
        Fill {
            scratch: of(&self.scratch),
            cache: of(&self.cache),
        }
    }
}

impl Disk {
    fn fill(&self) -> Option<DiskFill> {
        let found = sys::file_system(self.mount.as_fd()).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(DiskFill {
            used_bytes: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
            full: found.f_bavail <= found.f_blocks / FULL_SHARE || found.f_favail == 0,
        })
    }
}
