//! `control.sock`: how whoever may open the container's folder signals, asks and waits.

use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::protocol::CONTROL_SOCKET;

/// More than any number of agents would hold; further ones wait in the socket's backlog.
const MAX_CLIENTS: usize = 64;
/// Longer than any request.
const MAX_REQUEST_BYTES: usize = 64;

pub(crate) struct Control {
    listener: UnixListener,
    clients: Vec<Client>,
}

struct Client {
    stream: UnixStream,
    request: Vec<u8>,
}

impl Control {
    /// Binds in the current folder, which keeps the path short however deep the folder lies.
    pub(crate) fn bind_here() -> io::Result<Self> {
        let _ = std::fs::remove_file(CONTROL_SOCKET);
        let listener = UnixListener::bind(CONTROL_SOCKET)?;
        std::fs::set_permissions(CONTROL_SOCKET, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            clients: Vec::new(),
        })
    }

    /// Descriptors to poll.
    pub(crate) fn fds(&self) -> Vec<RawFd> {
        let room = self.clients.len() < MAX_CLIENTS;
        let listener = room.then(|| self.listener.as_raw_fd());
        listener
            .into_iter()
            .chain(self.clients.iter().map(|client| client.stream.as_raw_fd()))
            .collect()
    }

    /// Accepts clients and answers complete requests with `answer`.
    pub(crate) fn serve(&mut self, mut answer: impl FnMut(&str) -> String) {
        while self.clients.len() < MAX_CLIENTS {
            match self.listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                    self.clients.push(Client {
                        stream,
                        request: Vec::new(),
                    });
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.clients.retain_mut(|client| client.serve(&mut answer));
    }
}

impl Client {
    /// False once the client is gone or misbehaves.
    fn serve(&mut self, answer: &mut impl FnMut(&str) -> String) -> bool {
        let mut bytes = [0; MAX_REQUEST_BYTES];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(count) => self.request.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            while let Some(end) = self.request.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.request.drain(..=end).collect();
                let mut reply = answer(String::from_utf8_lossy(&line[..end]).trim_end());
                reply.push('\n');
                // Replies are short; a client whose buffer is full of unread ones is not worth waiting for.
                if self.stream.write_all(reply.as_bytes()).is_err() {
                    return false;
                }
            }
            if self.request.len() > MAX_REQUEST_BYTES {
                return false;
            }
        }
        true
    }
}
