//! Runs a router on a listener until it is told to end, and lets what is under way finish.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long requests may take to finish after the end was asked for.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, then takes no new connection and waits at most `drain` for requests under way, also for those in
/// `requests`, whose clients may have left. Streams that have no end of their own (routes, cells) end at once, see
/// [`crate::internal`].
///
/// # Errors
/// What the listener's first failure was.
pub async fn serve<L>(
    listener: L,
    router: Router,
    requests: TaskTracker,
    shutdown: CancellationToken,
    drain: Duration,
) -> io::Result<()>
where
    L: Listener,
    L::Addr: Debug,
{
    let told = shutdown.clone();
    let server =
        axum::serve(listener, router).with_graceful_shutdown(async move { told.cancelled().await });
    let to_the_end = async {
        let served = server.into_future().await;
        requests.close();
        requests.wait().await;
        served
    };
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        result = to_the_end => result,
        () = deadline => {
            tracing::warn!(drain_s = drain.as_secs(), "requests were still under way at the end of the drain time");
            Ok(())
        }
    }
}
