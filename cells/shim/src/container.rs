//! What happens inside, from the first instruction after clone to the init's loop, in the one order that works.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::command::{Command, Streams};
use crate::config::{Config, Linux, NamespaceKind, Root};
use crate::disks::Disks;
use crate::{init, network, privileges, rootfs, sys};

/// The file of a cgroup of version 1 that takes single threads.
const TASKS: &str = "tasks";

/// Everything that the inside gets from the shim.
pub(crate) struct Inside<'a> {
    pub(crate) config: &'a Config,
    pub(crate) root: &'a Root,
    pub(crate) linux: &'a Linux,
    pub(crate) command: &'a Command,
    pub(crate) filters: &'a [Vec<u8>],
    pub(crate) streams: Streams,
    pub(crate) disks: Disks,
    /// To the shim: one byte means "go", see also [`init::run`].
    pub(crate) shim: UnixStream,
    pub(crate) errors: OwnedFd,
    /// The user namespace that the command is to run in, see [`crate::mapping`].
    pub(crate) users: Option<OwnedFd>,
}

impl Inside<'_> {
    /// The life of the container's pid 1. Never returns to the shim's code.
    pub(crate) fn run(mut self) -> ! {
        // Of the shim's own mask, the mount points made below would be closed to the command.
        sys::set_umask(0o022);
        let ready = self.prepare();
        if let Err(reason) = ready {
            let _ = std::fs::File::from(self.errors).write_all(reason.as_bytes());
            sys::exit_now(125);
        }
        sys::exit_now(init::run(
            self.command,
            self.streams,
            self.shim,
            self.errors,
        ));
    }

    /// Two halves: what needs nobody, and, after the word of the shim, what needs the cgroups and the link that the engine
    /// makes. Both sides work at the same time, which halves the time of a start.
    fn prepare(&mut self) -> Result<(), String> {
        self.join_cgroups()?;
        if let Some(hostname) = &self.config.hostname {
            sys::set_hostname(hostname).map_err(|error| format!("set the host name: {error}"))?;
        }
        let network = match &self.config.slipway.network {
            Some(network) => {
                let prepared = network::prepare();
                Some((
                    network,
                    prepared.map_err(|error| format!("prepare the network: {error}"))?,
                ))
            }
            None => None,
        };
        yield_under_pressure();
        rootfs::enter(
            self.config,
            self.root,
            self.linux,
            self.users.as_ref(),
            std::mem::take(&mut self.disks),
        )?;

        let mut go = [0; 1];
        self.shim
            .read_exact(&mut go)
            .map_err(|error| format!("wait for the shim: {error}"))?;
        if self.config.has_namespace(NamespaceKind::Cgroup) {
            // Only now, inside its own cgroups, does a new cgroup namespace show those as the root.
            sys::unshare(libc::CLONE_NEWCGROUP)
                .map_err(|error| format!("new cgroup namespace: {error}"))?;
        }
        if let Some((network, prepared)) = network {
            network::connect(network, prepared)
                .map_err(|error| format!("set up the network: {error}"))?;
        }
        privileges::drop_all(&self.config.process, self.users.as_ref())?;
        // A change of user clears the parent-death signal, and makes the process visible to others of that user.
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
            .map_err(|error| format!("tie to the shim: {error}"))?;
        sys::prctl(libc::PR_SET_DUMPABLE, 0)
            .map_err(|error| format!("hide the init's memory: {error}"))?;
        privileges::install_filters(self.filters)
    }

    fn join_cgroups(&self) -> Result<(), String> {
        let cgroups = &self.config.slipway.cgroups;
        for cgroup in cgroups.iter().filter(|cgroup| is_entered_by_thread(cgroup)) {
            // This process has one thread, so that is all of it.
            std::fs::write(cgroup.join(TASKS), "0")
                .map_err(|error| format!("join cgroup {}: {error}", cgroup.display()))?;
        }
        Ok(())
    }
}

/// Whether a process may enter this cgroup as one thread that moves itself. The kernel moves anything else only after all
/// processors have let go of a lock, which takes milliseconds for each of version 1's hierarchies. Version 2 has no such
/// file for a group with controllers, and is one hierarchy.
pub(crate) fn is_entered_by_thread(cgroup: &Path) -> bool {
    cgroup.join(TASKS).exists()
}

/// An agent that the system protects from the memory killer must not pass that on to apps. Best effort: raising is
/// always allowed, and a host without the file has no protection to pass on.
fn yield_under_pressure() {
    const FILE: &str = "/proc/self/oom_score_adj";
    let adjustment = std::fs::read_to_string(FILE)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if adjustment.is_some_and(|adjustment| adjustment < 0) {
        let _ = std::fs::write(FILE, "0");
    }
}

/// Clone flags for the namespaces that must exist from the start; the cgroup one comes later.
pub(crate) fn clone_flags(linux: &Linux) -> i32 {
    linux.namespaces.iter().fold(0, |flags, namespace| {
        flags
            | match namespace.kind {
                NamespaceKind::Pid => libc::CLONE_NEWPID,
                NamespaceKind::Mount => libc::CLONE_NEWNS,
                NamespaceKind::Ipc => libc::CLONE_NEWIPC,
                NamespaceKind::Uts => libc::CLONE_NEWUTS,
                NamespaceKind::Network => libc::CLONE_NEWNET,
                NamespaceKind::Cgroup => 0,
            }
    })
}
