//! Starting a shim and talking to it. Both real engines run their containers under one, so adoption, output and exit
//! statuses are the same code for both.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cells_shim::config::{self, Config};
use cells_shim::protocol::{self, Event, ExitRecord, Handover, State, Status};
use model::secret::Env;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::{ContainerExit, EngineError};

/// From spawn to exec. A start takes milliseconds; a host under heavy swapping gets this long.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a failing shim may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a shim that could not be reached is tried again; nothing announces that it can.
const CONNECT_AGAIN: Duration = Duration::from_millis(200);
const MAX_EVENT_BYTES: usize = 64 * 1024;

pub(crate) struct Launch<'a> {
    pub(crate) exe: &'a Path,
    pub(crate) dir: &'a Path,
    pub(crate) config: &'a Config,
    pub(crate) env: &'a Env,
    /// The container's own disks, see [`cells_shim::config::Disks`].
    pub(crate) scratch: Option<OwnedFd>,
    pub(crate) cache: Option<OwnedFd>,
    /// Seccomp programs as raw `struct sock_filter`s.
    pub(crate) filters: &'a [Vec<u8>],
}

/// Starts a shim and returns once the command has begun. In between, `wire` gets the pid of the container's init.
///
/// Dropping the future, like an error, ends the container.
pub(crate) async fn launch<F, W>(launch: Launch<'_>, wire: F) -> Result<(), EngineError>
where
    F: FnOnce(i32) -> W,
    W: Future<Output = Result<(), EngineError>>,
{
    match tokio::time::timeout(START_TIMEOUT, launch_untimed(launch, wire)).await {
        Ok(result) => result,
        Err(_) => Err(EngineError::Setup(format!(
            "not started within {} s",
            START_TIMEOUT.as_secs()
        ))),
    }
}

async fn launch_untimed<F, W>(launch: Launch<'_>, wire: F) -> Result<(), EngineError>
where
    F: FnOnce(i32) -> W,
    W: Future<Output = Result<(), EngineError>>,
{
    let Launch {
        exe,
        dir,
        config,
        env,
        scratch,
        cache,
        filters,
    } = launch;
    let text = serde_json::to_vec(config)
        .map_err(io::Error::from)
        .map_err(EngineError::io("encode the container's configuration"))?;
    let config_path = dir.join(config::FILE);
    tokio::fs::write(&config_path, text)
        .await
        .map_err(EngineError::io(format!("write {}", config_path.display())))?;

    let (mut socket, mut starter) = spawn(exe, dir, [scratch, cache])?;
    let talk = EngineError::io("talk to the container's shim");
    let handover = Handover {
        env: env
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        filters: filters.len(),
    };
    let handover = serde_json::to_vec(&handover)
        .map_err(io::Error::from)
        .map_err(EngineError::io("encode the environment"))?;
    let mut frames = Vec::new();
    for frame in std::iter::once(&handover).chain(filters) {
        protocol::write_frame(&mut frames, frame)
            .map_err(EngineError::io("encode the environment"))?;
    }
    // A shim that failed early has said why before it closed its end, so a failing write is not the reason to report.
    let sent = socket.write_all(&frames).await;
    starter
        .wait()
        .await
        .map_err(EngineError::io("wait for the shim to detach"))?;
    match read_event(&mut socket).await {
        Ok(Event::Created { pid }) => {
            if let Err(error) = wire(pid).await {
                // A container that failed meanwhile took its end of the link with it; then its reason is the real one.
                return Err(
                    match tokio::time::timeout(LAST_WORDS, read_event(&mut socket)).await {
                        Ok(Ok(Event::Failed { message })) => EngineError::Setup(message),
                        _ => error,
                    },
                );
            }
        }
        Ok(Event::Failed { message }) => return Err(EngineError::Setup(message)),
        Ok(Event::Started) => return Err(EngineError::Setup("the shim did not wait".to_owned())),
        Err(error) => return Err(talk(sent.err().unwrap_or(error))),
    }
    let go = socket.write_all(&0u32.to_be_bytes()).await;
    match read_event(&mut socket).await {
        Ok(Event::Started) => Ok(()),
        Ok(Event::Failed { message }) => Err(EngineError::Setup(message)),
        Ok(Event::Created { .. }) => Err(EngineError::Setup("the shim started twice".to_owned())),
        Err(error) => Err(EngineError::io("talk to the container's shim")(
            go.err().unwrap_or(error),
        )),
    }
}

fn spawn(
    exe: &Path,
    dir: &Path,
    disks: [Option<OwnedFd>; 2],
) -> Result<(UnixStream, tokio::process::Child), EngineError> {
    let [scratch, cache] = disks.map(|disk| disk.map_or_else(Stdio::null, Stdio::from));
    let pair = std::os::unix::net::UnixStream::pair().and_then(|(ours, theirs)| {
        ours.set_nonblocking(true)?;
        Ok((UnixStream::from_std(ours)?, theirs))
    });
    let (ours, theirs) = pair.map_err(EngineError::io("make a socket for the shim"))?;
    let child = Command::new(exe)
        .arg("shim")
        .arg("--dir")
        .arg(dir)
        // Nothing of the agent's environment may be seen in the shim's.
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(scratch)
        .stderr(cache)
        .spawn()
        .map_err(EngineError::io(format!("run {}", exe.display())))?;
    Ok((ours, child))
}

async fn read_event(socket: &mut UnixStream) -> io::Result<Event> {
    let length = socket.read_u32().await? as usize;
    if length > MAX_EVENT_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the shim sent too much",
        ));
    }
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Connects to the shim in `dir`. The detour over `/proc` keeps the path below the 108 bytes that a socket's may have.
async fn connect(dir: &Path) -> io::Result<UnixStream> {
    let folder = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_PATH)
        .open(dir)?;
    let path = format!(
        "/proc/self/fd/{}/{}",
        folder.as_raw_fd(),
        protocol::CONTROL_SOCKET
    );
    UnixStream::connect(path).await
}

async fn request(dir: &Path, word: &str) -> io::Result<String> {
    let exchange = async {
        let mut socket = connect(dir).await?;
        socket.write_all(format!("{word}\n").as_bytes()).await?;
        let mut reply = String::new();
        BufReader::new(socket.take(4096))
            .read_line(&mut reply)
            .await?;
        if reply.is_empty() {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(reply.trim_end().to_owned())
        }
    };
    tokio::time::timeout(REQUEST_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Signals the command. A container that has ended already is no error.
pub(crate) async fn signal(dir: &Path, word: &str) -> Result<(), EngineError> {
    match request(dir, word).await {
        Ok(reply) if reply == "ok" => Ok(()),
        Ok(reply) => Err(EngineError::Setup(format!(
            "the shim answered '{reply}' to {word}"
        ))),
        Err(error) if has_ended(dir) || is_gone(&error) => Ok(()),
        Err(error) => Err(EngineError::io(format!(
            "send {word} to the container's shim"
        ))(error)),
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::NotFound | K::ConnectionRefused | K::ConnectionReset | K::BrokenPipe | K::UnexpectedEof
    )
}

/// The shim's own figures; all zero where nobody can tell.
pub(crate) async fn status(dir: &Path) -> Status {
    if let Some(exit) = read_exit(dir) {
        return Status {
            log_bytes: exit.log_bytes,
            fill: exit.fill,
        };
    }
    let reply = request(dir, protocol::STATUS).await.unwrap_or_default();
    serde_json::from_str(&reply).unwrap_or_default()
}

/// Waits until the container has ended.
pub(crate) async fn wait(dir: &Path) -> Result<ContainerExit, EngineError> {
    loop {
        match connect(dir).await {
            Ok(mut socket) => {
                let mut nothing = Vec::new();
                // The shim closes the connection when the exit is on disk; a shim that was killed closes it too.
                let _ = (&mut socket).take(4096).read_to_end(&mut nothing).await;
                break;
            }
            Err(error) if has_ended(dir) || is_gone(&error) => break,
            // This process lacks descriptors, or the shim has a crowd at its door: no reason to give up a container that runs.
            Err(_) => tokio::time::sleep(CONNECT_AGAIN).await,
        }
    }
    let exit = read_exit(dir).ok_or(EngineError::ShimGone)?;
    Ok(ContainerExit {
        status: exit.status,
        oom_killed: exit.oom_killed,
        disk_full: exit.fill.scratch.is_some_and(|disk| disk.full),
        cache_full: exit.fill.cache.is_some_and(|disk| disk.full),
        disk_bytes: exit.fill.scratch.map_or(0, |disk| disk.used_bytes),
        peak_memory_bytes: exit.peak_memory_bytes,
        ran: Duration::from_millis(exit.ran_ms),
    })
}

pub(crate) fn has_ended(dir: &Path) -> bool {
    dir.join(protocol::EXIT_FILE).exists()
}

fn read_exit(dir: &Path) -> Option<ExitRecord> {
    serde_json::from_reader(File::open(dir.join(protocol::EXIT_FILE)).ok()?).ok()
}

pub(crate) fn read_state(dir: &Path) -> Option<State> {
    serde_json::from_reader(File::open(dir.join(protocol::STATE_FILE)).ok()?).ok()
}
