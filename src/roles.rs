//! The three roles that `slipway up` starts as processes of their own: server, router, cell.

pub(crate) mod cell;
pub(crate) mod router;
pub(crate) mod server;

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Runs a role to its end and returns the process's exit code. Roles log to their files; what ends them early is said
/// there, and on stderr for whoever started the role by hand.
#[allow(
    clippy::print_stderr,
    reason = "the last word of a process that failed"
)]
pub(crate) fn main(role: &str, run: impl Future<Output = anyhow::Result<()>>) -> i32 {
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("slipway {role}: could not start its threads: {error}");
            return 1;
        }
    };
    match runtime.block_on(run) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "the {role} ends");
            eprintln!("slipway {role}: {error:#}");
            1
        }
    }
}

/// Cancelled by SIGTERM or SIGINT.
pub(crate) fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cancel = token.clone();
    // Ends with the runtime; there is nothing to drain in it.
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancel.cancel();
    });
    Ok(token)
}

/// A proxied connection takes two descriptors, and the usual soft limit is 1,024.
#[allow(unsafe_code, reason = "the standard library has no setrlimit")]
fn raise_open_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct is ours and initialised; both calls only read or write it.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
