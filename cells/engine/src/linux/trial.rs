//! Trials of what a host can do. What it does not have is done without, for as long as the engine lives. A trial that fails
//! for another reason, such as a full disk, is repeated, and in the end keeps the engine from starting: whoever starts it
//! tries again, which is better than to run for ever with weaker walls.

use std::io;
use std::time::Duration;

use crate::EngineError;

const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What the kernel answers where it lacks something, or where whoever made this host has forbidden it.
const LACKS: [i32; 10] = [
    libc::ENOSYS,
    libc::EINVAL,
    libc::EOPNOTSUPP,
    libc::EPERM,
    libc::EACCES,
    libc::ENOTTY,
    libc::ENODEV,
    libc::ENXIO,
    libc::ENOENT,
    libc::EOVERFLOW,
];

/// Whether an error says that the host will never do it.
pub(super) fn is_lack(error: &io::Error) -> bool {
    match error.raw_os_error() {
        Some(code) => is_lack_code(code),
        // A program that is not installed.
        None => error.kind() == io::ErrorKind::NotFound,
    }
}

pub(super) fn is_lack_code(code: i32) -> bool {
    LACKS.contains(&code)
}

/// Repeats a trial that fails, a few times.
pub(super) async fn repeat<T, F>(mut trial: impl FnMut() -> F) -> Result<T, EngineError>
where
    F: Future<Output = Result<T, EngineError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match trial().await {
            Err(error) => {
                tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "a trial of what this host can do failed and is repeated");
            }
            found => return found,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    trial().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_host_will_never_do_counts_as_a_lack() {
        for (code, lack) in [
            (libc::ENOSYS, true),
            (libc::EPERM, true),
            (libc::ENOENT, true),
            (libc::ENOTTY, true),
            (libc::ENOSPC, false),
            (libc::EMFILE, false),
            (libc::ENFILE, false),
            (libc::ENOMEM, false),
            (libc::EBUSY, false),
            (libc::EAGAIN, false),
            (libc::EIO, false),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(is_lack(&error), lack, "{error}");
        }
        assert!(is_lack(&io::Error::new(
            io::ErrorKind::NotFound,
            "mkfs.ext4 is not installed"
        )));
        assert!(!is_lack(&io::Error::other("mkfs.ext4: exit status: 1")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_of_a_moment_is_waited_out_and_one_that_stays_is_told() {
        let mut tries = 0;
        let full = || EngineError::io("try")(io::Error::from_raw_os_error(libc::ENOSPC));
        let found = repeat(|| {
            tries += 1;
            std::future::ready(if tries == 3 { Ok(tries) } else { Err(full()) })
        });
        assert!(matches!(found.await, Ok(3)));
        let mut tries = 0;
        let found = repeat(|| {
            tries += 1;
            std::future::ready(Err::<(), _>(full()))
        });
        assert!(found.await.is_err());
        assert_eq!(tries, TRIES);
    }
}
