//! Waiting for the platform to be ready, and telling its user how to go on.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use model::protocol::cell::Isolation;

use super::Settings;
use super::words::{say, warn};
use crate::children;
use crate::paths::Paths;

/// Between two looks; the platform is ready within a fraction of a second.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The same once that is over.
const LOOK_LATE_EVERY: Duration = Duration::from_secs(1);
const LOG_LINES: usize = 15;

/// Completes when the platform can take a push, or says why it cannot once `patience`, where there is a bound to it, is over.
pub(super) async fn greet(
    paths: &Paths,
    settings: &Settings,
    patience: Option<Duration>,
    began: Instant,
) -> anyhow::Result<()> {
    let waits_since = Instant::now();
    while !is_ready(paths, settings).await {
        let look_every = match patience {
            Some(patience) if waits_since.elapsed() > patience => {
                let tails = ["server", "cell", "router"].map(|role| log_tail(&paths.log(role)));
                bail!(
                    "the platform did not become ready in {} s; the ends of its logs:\n{}",
                    patience.as_secs(),
                    tails.concat()
                );
            }
            Some(_) => LOOK_EVERY,
            None => LOOK_LATE_EVERY,
        };
        tokio::time::sleep(look_every).await;
    }
    let seconds = began.elapsed().as_secs_f32();
    let logged_in = log_in(paths, settings).unwrap_or_else(|error| {
        warn(format_args!(
            "you could not be logged in: {error:#}\n  try  SLIPWAY_ADMIN_PASSWORD=... slipway up   to give the admin another one"
        ));
        false
    });
    say(format_args!(
        "Slipway {} is ready in {seconds:.1} s",
        env!("CARGO_PKG_VERSION")
    ));
    say(format_args!(
        "  api       {}   (also http://api.{}:{})",
        settings.api_url(),
        settings.domain,
        settings.front.port()
    ));
    say("  user      admin");
    say(format_args!(
        "  password  in {}",
        paths.admin_password().display()
    ));
    say(format_args!("  data      {}", paths.data().display()));
    match settings.isolation {
        Isolation::Container => say("  isolation containers"),
        Isolation::Process => say(
            "  isolation NONE: apps run as plain processes of this user and can do all that you can. For your own code only.",
        ),
    }
    if logged_in {
        say("  next      slipway push     (in your app's folder; you are logged in)");
    } else {
        say(format_args!(
            "  next      slipway login -a {} -u admin     then, in your app's folder: slipway push",
            settings.api_url()
        ));
    }
    say(format_args!(
        "  stop      Ctrl-C stops the platform and leaves apps running; '{}' stops those too",
        settings.down_command(paths)
    ));
    Ok(())
}

/// Whether the server says so, with a cell connected. A server may take long to answer, and children and signals do not wait.
async fn is_ready(paths: &Paths, settings: &Settings) -> bool {
    let (paths, settings) = (paths.clone(), settings.clone());
    tokio::task::spawn_blocking(move || says_ready(&paths, &settings))
        .await
        .unwrap_or(false)
}

fn says_ready(paths: &Paths, settings: &Settings) -> bool {
    const PATIENCE: Duration = Duration::from_secs(2);
    fn ask(mut stream: impl Read + Write) -> std::io::Result<bool> {
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")?;
        let mut status = String::new();
        BufReader::new(stream.take(1024)).read_line(&mut status)?;
        Ok(status.split_whitespace().nth(1) == Some("200"))
    }
    let answer = || match settings.admin {
        Some(address) => {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(stream)
        }
        None => {
            let own = paths.admin_socket();
            let stream = UnixStream::connect(settings.admin_socket.as_ref().unwrap_or(&own))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            ask(stream)
        }
    };
    answer().unwrap_or(false)
}

/// Logs in the client of the user who started the platform, unless it has a target. Says whether it is logged in here.
fn log_in(paths: &Paths, settings: &Settings) -> anyhow::Result<bool> {
    if cli::has_target() {
        return Ok(false);
    }
    let password = std::fs::read_to_string(paths.admin_password())
        .context("the admin's password can't be read")?;
    // The password travels in the environment: argv can be read by every user of the host.
    let status = std::process::Command::new(children::own_exe()?)
        .args(["login", "-a", &settings.api_url(), "-u", "admin"])
        .env("SLIPWAY_PASSWORD", password.trim())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    Ok(status.is_ok_and(|status| status.success()))
}

fn log_tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().rev().take(LOG_LINES).collect::<Vec<_>>();
    let lines = lines
        .into_iter()
        .rev()
        .map(|line| format!("    {line}\n"))
        .collect::<String>();
    format!("  {}\n{lines}", path.display())
}
