//! The shim's life: start the container together with the engine, then pump, answer and wait until it ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use crate::command::{Command, Streams};
use crate::config::{self, Config};
use crate::container::{self, Inside};
use crate::control::Control;
use crate::disks::Disks;
use crate::logs::{Lines, LogWriter};
use crate::protocol::{self, Event, Handover, State};
use crate::running::{self, Running};
use crate::{mapping, sys};

/// How far a shim stands back behind the host's other processes, on the kernel's scale of 0 to 19.
const SHIM_NICE: i32 = 10;

/// Runs the shim in `dir`; the engine is on standard input. Returns the exit code of the process.
pub(crate) fn run(dir: &Path) -> i32 {
    let Ok(engine) = sys::take_standard(0) else {
        return 1;
    };
    let mut engine = UnixStream::from(engine);
    match start(dir, &mut engine) {
        Ok(running) => {
            // An engine that has gone away in the last moment finds the container by its files.
            let _ = tell(&mut engine, &Event::Started);
            drop(engine);
            running.until_it_ends()
        }
        Err(message) => {
            let _ = tell(&mut engine, &Event::Failed { message });
            1
        }
    }
}

/// Ends what was started if its start is not completed.
struct Unfinished(Option<OwnedFd>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(pidfd) = &self.0 {
            let _ = sys::pidfd_kill(pidfd.as_fd(), libc::SIGKILL);
            let mut ended = [sys::poll_in(pidfd.as_raw_fd())];
            let _ = sys::poll(&mut ended, Some(5_000));
            while sys::reap().is_some() {}
        }
    }
}

fn start(dir: &Path, engine: &mut UnixStream) -> Result<Running, String> {
    std::env::set_current_dir(dir)
        .map_err(|error| format!("enter the container's folder: {error}"))?;
    let config = read_config()?;
    let disks = Disks::take(&config).map_err(|error| format!("take the disks: {error}"))?;
    let (command, filters) = receive(&config, engine)?;
    let log_dir = Path::new(protocol::LOG_DIR);
    let extension = &config.slipway;
    let log = LogWriter::create(log_dir, extension.max_log_bytes, extension.max_log_rate)
        .map_err(|error| format!("open the log: {error}"))?;
    running::reserve_exit();
    let control =
        Control::bind_here().map_err(|error| format!("open the control socket: {error}"))?;

    let spawned = spawn(&config, &command, &filters, disks)?;
    drop((command, filters));
    let Spawned {
        pid,
        pidfd,
        mut inside,
        errors,
        out,
        err,
        disks,
    } = spawned;
    let mut unfinished = Unfinished(Some(pidfd));
    // The engine wires the network and the inside prepares itself while the kernel takes its time with the cgroups.
    tell(engine, &Event::Created { pid }).map_err(|error| format!("tell the engine: {error}"))?;
    let mut errors = Errors {
        pipe: File::from(errors),
        reason: Vec::new(),
    };
    let inside_joins =
        |cgroup: &Path| config.linux.is_some() && container::is_entered_by_thread(cgroup);
    let cgroups = config.slipway.cgroups.iter();
    for cgroup in cgroups.filter(|cgroup| !inside_joins(cgroup)) {
        if let Err(error) = std::fs::write(cgroup.join("cgroup.procs"), pid.to_string()) {
            // An inside that has failed is gone already, and knows the better reason.
            return Err(errors
                .ready()
                .unwrap_or_else(|| format!("join cgroup {}: {error}", cgroup.display())));
        }
    }
    errors.wait(engine, false)?;
    protocol::read_frame(&mut *engine).map_err(|error| format!("wait for the engine: {error}"))?;
    inside
        .write_all(&[0])
        .map_err(|error| format!("release the container: {error}"))?;
    errors.wait(engine, true)?;

    if config.linux.is_some() {
        // All that an app says goes through here, outside of its own share of the CPU: whoever says very much must not get
        // in the way of the others. Best effort, as nothing else depends on it.
        let _ = sys::give_way(SHIM_NICE);
    }
    let started = Instant::now();
    write_state(pid).map_err(|error| format!("write the state: {error}"))?;
    for pipe in [&out, &err] {
        sys::set_nonblocking(pipe.as_fd())
            .map_err(|error| format!("prepare the output: {error}"))?;
    }
    let pidfd = unfinished.0.take().expect("set above");
    let init = config.linux.is_some().then_some(inside);
    if let Some(init) = &init {
        init.set_nonblocking(true)
            .map_err(|error| format!("prepare the init's socket: {error}"))?;
    }
    Ok(Running {
        pid,
        pidfd,
        init,
        out: Some(File::from(out)),
        err: Some(File::from(err)),
        log,
        out_lines: Lines::default(),
        err_lines: Lines::default(),
        control,
        disks,
        config,
        started,
        status: None,
        peak_bytes: 0,
    })
}

fn read_config() -> Result<Config, String> {
    let text =
        std::fs::read(config::FILE).map_err(|error| format!("read {}: {error}", config::FILE))?;
    serde_json::from_slice(&text).map_err(|error| format!("parse {}: {error}", config::FILE))
}

/// The secrets and the seccomp programs, which come over the socket only.
fn receive(config: &Config, engine: &mut UnixStream) -> Result<(Command, Vec<Vec<u8>>), String> {
    let broken = |error: io::Error| format!("receive the environment: {error}");
    let frame = protocol::read_frame(&mut *engine).map_err(broken)?;
    // The parser's message could quote a value.
    let handover: Handover =
        serde_json::from_slice(&frame).map_err(|_| "the environment does not parse".to_owned())?;
    let filters = (0..handover.filters).map(|_| protocol::read_frame(&mut *engine));
    let filters = filters.collect::<io::Result<Vec<_>>>().map_err(broken)?;
    Ok((Command::new(&config.process, &handover.env)?, filters))
}

struct Spawned {
    pid: i32,
    pidfd: OwnedFd,
    inside: UnixStream,
    errors: OwnedFd,
    out: OwnedFd,
    err: OwnedFd,
    disks: Disks,
}

/// Makes the first process, which waits for a byte on its socket before it does anything.
fn spawn(
    config: &Config,
    command: &Command,
    filters: &[Vec<u8>],
    disks: Disks,
) -> Result<Spawned, String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let (out, child_out) = sys::pipe().map_err(failed("make a pipe"))?;
    let (err, child_err) = sys::pipe().map_err(failed("make a pipe"))?;
    let (errors, child_errors) = sys::pipe().map_err(failed("make a pipe"))?;
    let (inside, child_socket) = UnixStream::pair().map_err(failed("make a socket"))?;
    let streams = Streams {
        out: child_out,
        err: child_err,
    };
    let user = config.process.user;
    let users = match config.slipway.outer_user {
        Some(outer) if config.linux.is_some() => {
            Some(mapping::make(user.uid, outer).map_err(failed("make the container's users"))?)
        }
        _ => None,
    };
    let keep = [&streams.out, &streams.err, &child_errors].map(AsRawFd::as_raw_fd);
    let mut keep = keep.to_vec();
    keep.push(child_socket.as_raw_fd());
    keep.extend(disks.descriptors());
    keep.extend(users.as_ref().map(AsRawFd::as_raw_fd));

    let (pid, pidfd) = match (&config.linux, &config.root) {
        (Some(linux), Some(root)) => {
            let (uid, gid) = config
                .slipway
                .outer_user
                .map_or((user.uid, user.gid), |outer| (outer, outer));
            // So that the command may open /dev/stdout; these pipes are ours alone.
            for pipe in [&streams.out, &streams.err] {
                sys::chown_fd(pipe.as_fd(), uid, gid).map_err(failed("hand over the output"))?;
            }
            match sys::clone_into(container::clone_flags(linux))
                .map_err(failed("make namespaces"))?
            {
                Some(made) => made,
                None => {
                    sys::close_all_but(&keep);
                    Inside {
                        config,
                        root,
                        linux,
                        command,
                        filters,
                        streams,
                        disks,
                        shim: child_socket,
                        errors: child_errors,
                        users,
                    }
                    .run()
                }
            }
        }
        (None, None) => {
            // Orphans of the command come to the shim, which ends them with it.
            sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map_err(failed("become the reaper"))?;
            match sys::fork().map_err(failed("fork"))? {
                0 => {
                    sys::close_all_but(&keep);
                    plain_process(config, command, &streams, child_socket, child_errors)
                }
                pid => (
                    pid,
                    sys::pidfd_open(pid).map_err(failed("watch the command"))?,
                ),
            }
        }
        _ => return Err("the configuration has only one of 'root' and 'linux'".to_owned()),
    };
    Ok(Spawned {
        pid,
        pidfd,
        inside,
        errors,
        out,
        err,
        disks,
    })
}

/// A command without namespaces: in a session of its own, tied to the shim.
fn plain_process(
    config: &Config,
    command: &Command,
    streams: &Streams,
    mut shim: UnixStream,
    errors: OwnedFd,
) -> ! {
    let mut prepare = || -> Result<(), String> {
        sys::set_umask(0o022);
        sys::new_session().map_err(|error| format!("new session: {error}"))?;
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong)
            .map_err(|error| format!("tie to the shim: {error}"))?;
        for limit in &config.process.rlimits {
            sys::set_rlimit(limit).map_err(|error| format!("limit {:?}: {error}", limit.kind))?;
        }
        if config.process.no_new_privileges {
            sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
                .map_err(|error| format!("set no_new_privs: {error}"))?;
        }
        shim.read_exact(&mut [0])
            .map_err(|error| format!("wait for the shim: {error}"))
    };
    let reason = prepare()
        .err()
        .unwrap_or_else(|| command.become_it(streams));
    let _ = File::from(errors).write_all(reason.as_bytes());
    sys::exit_now(127)
}

/// The pipe on which the inside says why it failed. It ends when the command has begun, or when the inside is gone.
struct Errors {
    pipe: File,
    reason: Vec<u8>,
}

impl Errors {
    /// Waits for the engine to speak (`for_exec` false) or for the command to begin (`for_exec` true). Returns what went
    /// wrong, or that the engine has lost interest.
    fn wait(&mut self, engine: &UnixStream, for_exec: bool) -> Result<(), String> {
        loop {
            let mut fds = [
                sys::poll_in(self.pipe.as_raw_fd()),
                sys::poll_in(engine.as_raw_fd()),
            ];
            sys::poll(&mut fds, None).map_err(|error| format!("wait for the command: {error}"))?;
            if fds[0].revents != 0 {
                if self.read_some()? {
                    return match (self.reason.is_empty(), for_exec) {
                        (true, true) => Ok(()),
                        (true, false) => {
                            Err("the inside of the container ended during its set-up".to_owned())
                        }
                        (false, _) => Err(self.text()),
                    };
                }
            } else if fds[1].revents != 0 {
                return if for_exec {
                    Err("the engine went away during the start".to_owned())
                } else {
                    Ok(())
                };
            }
        }
    }

    /// What the inside has said, if it has; does not wait for it to say something.
    fn ready(&mut self) -> Option<String> {
        let mut fds = [sys::poll_in(self.pipe.as_raw_fd())];
        while sys::poll(&mut fds, Some(0)).is_ok() && fds[0].revents != 0 {
            if self.read_some().ok()? {
                break;
            }
        }
        (!self.reason.is_empty()).then(|| self.text())
    }

    /// Reads once. True at the end.
    fn read_some(&mut self) -> Result<bool, String> {
        const MAX_REASON_BYTES: usize = 4096;
        let mut buffer = [0; MAX_REASON_BYTES];
        match self.pipe.read(&mut buffer) {
            Ok(0) => Ok(true),
            Ok(count) => {
                let room = MAX_REASON_BYTES - self.reason.len();
                self.reason.extend_from_slice(&buffer[..count.min(room)]);
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(format!("wait for the command: {error}")),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.reason).into_owned()
    }
}

fn tell(engine: &mut UnixStream, event: &Event) -> io::Result<()> {
    protocol::write_frame(engine, &serde_json::to_vec(event)?)
}

fn write_state(pid: i32) -> io::Result<()> {
    let shim_pid = std::process::id().cast_signed();
    let start = |pid| protocol::start_time(pid).unwrap_or(0);
    let state = State {
        pid,
        pid_start: start(pid),
        shim_pid,
        shim_start: start(shim_pid),
        boot_id: protocol::boot_id(),
    };
    // Not durably: after a power failure there is no such process any more.
    let fresh = format!("{}.new", protocol::STATE_FILE);
    std::fs::write(&fresh, serde_json::to_vec(&state)?)?;
    std::fs::rename(fresh, protocol::STATE_FILE)
}
