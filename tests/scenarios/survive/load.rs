//! Requests to one app, one after another without a pause worth the name, from two clients.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::DOMAIN;

const CLIENTS: usize = 2;
const PAUSE: Duration = Duration::from_millis(5);
const MAX_REQUESTS: usize = 100_000;

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) began: Instant,
    ended: Instant,
    pub(super) error: Option<String>,
}

impl Request {
    pub(super) fn is_refused(&self) -> bool {
        self.error
            .as_ref()
            .is_some_and(|error| error.contains("refused"))
    }
}

pub(super) struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<Request>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(front: SocketAddr, host: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(Mutex::new(Vec::new()));
        let head = format!("GET / HTTP/1.1\r\nHost: {host}.{DOMAIN}\r\nConnection: close\r\n\r\n");
        let client = || {
            let (stop, done, head) = (Arc::clone(&stop), Arc::clone(&done), head.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let error = ask(front, &head).err().map(|error| error.to_string());
                    let mut done = done.lock().expect("no panic while held");
                    if done.len() >= MAX_REQUESTS {
                        return;
                    }
                    done.push(Request {
                        began,
                        ended: Instant::now(),
                        error,
                    });
                    drop(done);
                    std::thread::sleep(PAUSE);
                }
            })
        };
        let clients = (0..CLIENTS).map(|_| client()).collect();
        Self {
            stop,
            done,
            clients,
        }
    }

    /// How long after `at` the first request was answered that was sent after it.
    pub(super) fn answered_since(&self, at: Instant) -> Option<Duration> {
        let done = self.done.lock().expect("no panic while held");
        let answered = done
            .iter()
            .filter(|one| one.error.is_none() && one.began > at);
        answered.map(|one| one.ended - at).min()
    }

    pub(super) fn stop(self) -> Vec<Request> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client ends");
        }
        std::mem::take(&mut *self.done.lock().expect("no panic while held"))
    }
}

fn ask(front: SocketAddr, head: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&front, Duration::from_secs(30))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let is_whole = answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\n\r\ninstance ");
    if is_whole {
        Ok(())
    } else {
        Err(io::Error::other(format!("answered with {answer:?}")))
    }
}
