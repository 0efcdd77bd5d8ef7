//! Giving up, in the one order that works, everything that root could do.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::config::Process;
use crate::sys;

/// Resource limits, then the host's users, capabilities, groups, user. Afterwards the process cannot get anything back.
pub(crate) fn drop_all(process: &Process, users: Option<&OwnedFd>) -> Result<(), String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    for limit in &process.rlimits {
        sys::set_rlimit(limit).map_err(|error| format!("limit {:?}: {error}", limit.kind))?;
    }
    if let Some(users) = users {
        // Gives all capabilities anew, over nothing but this namespace, so it comes before they are dropped.
        sys::enter_user_namespace(users.as_fd()).map_err(failed("enter the user namespace"))?;
    }
    // The bounding set can only be emptied while CAP_SETPCAP is there, the user only be changed while CAP_SETUID is.
    for capability in 0..=last_capability() {
        sys::prctl(libc::PR_CAPBSET_DROP, capability).map_err(failed("drop the bounding set"))?;
    }
    let clear_ambient = libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong;
    sys::prctl(libc::PR_CAP_AMBIENT, clear_ambient)
        .map_err(failed("clear ambient capabilities"))?;
    sys::drop_groups_and_user(process.user.uid, process.user.gid)
        .map_err(failed("change the user"))?;
    sys::clear_capabilities().map_err(failed("clear capabilities"))?;
    if process.no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(failed("set no_new_privs"))?;
    }
    Ok(())
}

pub(crate) fn install_filters(filters: &[Vec<u8>]) -> Result<(), String> {
    for filter in filters {
        sys::install_seccomp(filter)
            .map_err(|error| format!("install a seccomp filter: {error}"))?;
    }
    Ok(())
}

fn last_capability() -> libc::c_ulong {
    // Capabilities beyond what the kernel knows are refused with EINVAL, so ask it.
    fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(40)
}
