//! How the kernel finds out that the other side of a connection is gone or takes nothing any more, so that no vanished client
//! keeps a place and no vanished instance a client.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Questions without an answer until the other side is gone.
const QUESTIONS: u32 = 4;
const ASK_INSTANCE_AFTER: Duration = Duration::from_secs(60);
/// What the kernel counts in.
const SECOND: Duration = Duration::from_secs(1);

/// For all connections that `listener` accepts, which inherit it: no call for each of them.
pub(crate) fn watch_clients(listener: &TcpListener, silence: Duration) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_tcp_keepalive(&asking_after(silence / 2))?;
    // Also ends those that are there and do not read.
    socket.set_tcp_user_timeout(Some(silence))
}

/// An instance may leave a request unread for as long as it likes, if only its host is there.
pub(crate) fn watch_instance(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&asking_after(ASK_INSTANCE_AFTER))
}

fn asking_after(idle: Duration) -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(idle.max(SECOND))
        .with_interval((idle / QUESTIONS).max(SECOND))
        .with_retries(QUESTIONS)
}
