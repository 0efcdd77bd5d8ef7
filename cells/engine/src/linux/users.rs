//! Which user of the host a container's `vcap` is.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{VCAP, trial};
use crate::record::blocking;
use crate::{EngineError, folders};

/// The first of 2^24 user ids that nobody else gives out: they lie above the ranges of `/etc/subuid`, of systemd's containers
/// (below 0x7000_0000) and of SSSD's directories (below 2,000,200,000), and below systemd's foreign ids (0x7fff_0000).
const FIRST: u32 = 0x7800_0000;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether containers have users of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    /// Each another one, by its address, which is its alone on the host as long as it lives.
    Own,
    /// All are user 2000: this kernel or file system cannot show files as another user's.
    Shared,
}

impl Users {
    /// Finds out by doing, with the shim `exe` in the engine's folder `state`. An error says nothing about what the host can do.
    pub(super) async fn find_out(exe: &Path, state: &Path) -> Result<Self, EngineError> {
        let dir = state.join(format!("users-{}", std::process::id()));
        std::fs::create_dir_all(&dir)
            .map_err(EngineError::io(format!("make {}", dir.display())))?;
        let mut command = Command::new(exe);
        command
            .args(["shim", cells_shim::CHECK_MAPPING])
            .arg(&dir)
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let ran = tokio::time::timeout(TIMEOUT, command.output()).await;
        blocking(move || {
            folders::remove(&dir).map_err(EngineError::io(format!("remove {}", dir.display())))
        })
        .await?;
        let output = ran
            .map_err(|_| EngineError::Setup("the shim's check of users did not end".to_owned()))?
            .map_err(EngineError::io(format!("run {}", exe.display())))?;
        if output.status.success() {
            return Ok(Self::Own);
        }
        let reason = String::from_utf8_lossy(&output.stdout);
        if !is_lack(&reason, !has_user_namespaces()) {
            return Err(EngineError::Setup(format!(
                "the shim's check of users failed with {}: {reason}",
                output.status
            )));
        }
        tracing::warn!(
            %reason,
            "all containers share one user of the host, since they cannot have users of their own here"
        );
        Ok(Self::Shared)
    }

    /// The host's user for the container with this address, if it is not `vcap` itself.
    pub(super) const fn outer(self, address: Ipv4Addr) -> Option<u32> {
        match self {
            Self::Own => Some(FIRST | (address.to_bits() & 0x00ff_ffff)),
            Self::Shared => None,
        }
    }

    /// Who owns on the host what the container with this address may write to.
    pub(super) fn owner(self, address: Ipv4Addr) -> u32 {
        self.outer(address).unwrap_or(VCAP)
    }
}

/// Whether the shim's words say that the host will never do it. They end with the kernel's error, where there was one; a shim
/// that was killed says nothing. The kernel reports namespaces that are forbidden like those that are used up.
fn is_lack(reason: &str, forbidden: bool) -> bool {
    let code = reason
        .rsplit_once("(os error ")
        .and_then(|(_, code)| code.trim_end().strip_suffix(')')?.parse().ok());
    match code {
        Some(libc::ENOSPC) => forbidden,
        Some(code) => trial::is_lack_code(code),
        None => reason.starts_with("a file of user"),
    }
}

fn has_user_namespaces() -> bool {
    std::fs::read_to_string("/proc/sys/user/max_user_namespaces")
        .is_ok_and(|most| most.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_that_ends_without_a_word_says_nothing_about_users() {
        let state = tempfile::tempdir().expect("temp dir");
        let found = Users::find_out(Path::new("/bin/false"), state.path()).await;
        assert!(found.is_err(), "{found:?}");
    }

    #[test]
    fn a_check_that_fails_for_a_moment_is_not_taken_for_a_host_without_users() {
        for (reason, forbidden, lack) in [
            (
                "map the users of a mount: Invalid argument (os error 22)",
                false,
                true,
            ),
            (
                "a file of user 2000 is shown as of 2000 and copied as of 0",
                false,
                true,
            ),
            (
                "make a user namespace: No space left on device (os error 28)",
                true,
                true,
            ),
            (
                "make a file: No space left on device (os error 28)",
                false,
                false,
            ),
            (
                "make a user namespace: Cannot allocate memory (os error 12)",
                false,
                false,
            ),
            (
                "make a user namespace: failed to fill whole buffer",
                false,
                false,
            ),
            ("", false, false),
        ] {
            assert_eq!(is_lack(reason, forbidden), lack, "{reason}");
        }
    }

    #[test]
    fn no_two_addresses_of_a_host_have_the_same_user() {
        let outer = |text: &str| Users::Own.outer(text.parse().expect("an address"));
        assert_eq!(outer("10.128.16.2"), Some(0x7880_1002));
        assert_ne!(outer("10.128.16.2"), outer("10.129.16.2"));
        let owner = |users: Users| users.owner(Ipv4Addr::new(10, 255, 255, 254));
        assert_eq!(
            (owner(Users::Own), owner(Users::Shared)),
            (0x78ff_fffe, VCAP)
        );
        assert!(
            i32::try_from(owner(Users::Own)).is_ok(),
            "some programs keep user ids in 31 bits"
        );
    }
}
