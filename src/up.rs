//! `slipway up`: the supervisor of one host.
//!
//! It binds the front port and the unix sockets, starts router, server and cell as children that inherit them, and
//! starts each again when it ends. Children live in process groups of their own and outlive a killed supervisor; the
//! next one takes them over, listeners included. Instances belong to none of them: they go on until `slipway down`.

mod admin;
mod child;
mod listeners;
mod network;
mod ready;
mod settings;
mod words;

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use cells_engine::linux::probe;
use model::protocol::cell::Isolation;
use tokio::signal::unix::{SignalKind, signal};

use crate::children::{self, Running};
use crate::down;
use crate::paths::Paths;
use crate::roles::cell::{BudgetArgs, EngineArgs, linux_config};
use crate::roles::server::BoundsArgs;
use crate::run_file;
use admin::AdminAddress;
use child::Child;
use listeners::Listeners;
pub(crate) use settings::Settings;
use words::{say, warn};

/// Start the platform on this host: API, router and a cell that runs apps.
///
/// Keeps running in the foreground; Ctrl-C stops the platform and leaves the apps running, `slipway down` stops those
/// too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of everything the platform keeps [default: /var/lib/slipway as root, else ~/.local/share/slipway]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The one address for API, console and apps
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Apps are reached below this domain, the API as api.DOMAIN
    #[arg(long, default_value = "localhost", value_parser = domain)]
    domain: String,
    /// Where metrics and health are offered: a unix socket's path or ADDR:PORT [default: DATA/run/admin.sock]
    #[arg(long, value_name = "PATH|ADDR:PORT")]
    admin_listen: Option<String>,
    /// How apps are kept apart: auto makes containers (needs root); process runs them as plain processes of this user,
    /// for your own code only
    #[arg(long, default_value = "auto", value_parser = ["auto", "process"])]
    isolation: String,
    /// Allow --listen beyond loopback although the port speaks plain HTTP
    #[arg(long)]
    insecure_http: bool,
    /// A proxy in front whose X-Forwarded-* headers are believed; may be given more than once
    #[arg(long, value_name = "NETWORK")]
    trusted_proxy: Vec<router::Network>,
    #[command(flatten)]
    budgets: BudgetArgs,
    #[command(flatten)]
    bounds: BoundsArgs,
}

/// Names of the children, in the order in which they are started.
pub(crate) const SERVER: &str = "server";
const CELL: &str = "cell";
const ROUTER: &str = "router";
const UP: &str = "up";

/// Until what is in flight is cut when the platform stops.
const DRAIN: Duration = Duration::from_secs(15);
const READY: Duration = Duration::from_secs(60);

fn domain(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let text = text.to_lowercase();
    if text.len() <= 200 && text.split('.').all(label) {
        Ok(text)
    } else {
        Err(format!("'{text}' is not a domain name"))
    }
}

pub(crate) fn main(args: Args) -> i32 {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            warn(format_args!("✗ could not start: {error}"));
            return 1;
        }
    };
    match runtime.block_on(run(args)) {
        Ok(_) => 0,
        Err(error) => {
            warn(format_args!("✗ {error:#}"));
            1
        }
    }
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let admin = AdminAddress::of(args.admin_listen.as_deref(), args.insecure_http)?;
    if !args.listen.ip().is_loopback() && !args.insecure_http {
        bail!(
            "{} can be reached from other machines, and passwords would travel unencrypted\n  try  --listen 127.0.0.1:{} behind a TLS proxy, or add --insecure-http",
            args.listen,
            args.listen.port()
        );
    }
    let paths = Paths::new(args.data.clone())?;
    paths.create()?;
    let _lock = lock(&paths)?;
    run_file::reserve(&paths);
    children::write_pid(&paths, UP, i32::try_from(std::process::id())?)?;
    let mut adopted = Adopted::find(&paths);
    if let Some(known) = Settings::load(&paths)? {
        make_way(&paths, &args, &admin, &known, &mut adopted).await?;
    }
    let listeners = Listeners::obtain(&paths, &args, &admin, &mut adopted).await?;
    let settings = Settings::decide(&paths, &args, &admin, listeners.front_address()?)?;
    let engine = settings.engine_args();
    if adopted.cell.is_none() {
        check_isolation(&paths, &engine).await?;
    }
    settings.save(&paths)?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // The terminal is gone, which is no reason to stop.
    let mut hangup = signal(SignalKind::hangup())?;
    let front = settings.front;
    let if_late = IfLate::of(settings.has_been_ready, adopted.router.is_some());
    let mut server = Child::new(
        SERVER,
        server_args(&paths, &settings, front),
        listeners.server(),
        adopted.server,
        &paths,
    )?;
    let mut cell = Child::new(
        CELL,
        cell_args(&paths, &engine, settings.budgets),
        Vec::new(),
        adopted.cell,
        &paths,
    )?;
    let mut router = Child::new(
        ROUTER,
        router_args(&paths, &settings),
        listeners.router(),
        adopted.router,
        &paths,
    )?;

    let mut greeting = Box::pin(ready::greet(&paths, &settings, Some(READY), began));
    let mut greeted = false;
    loop {
        tokio::select! {
            result = &mut greeting, if !greeted => match result {
                Ok(()) => {
                    greeted = true;
                    if let Err(error) = settings.note_ready(&paths) {
                        warn(format_args!(
                            "it could not be noted that the platform was ready: {error:#}"
                        ));
                    }
                }
                Err(error) if if_late == IfLate::End => {
                    router.running.stop(DRAIN).await;
                    server.running.stop(DRAIN).await;
                    cell.running.stop(DRAIN).await;
                    return Err(error);
                }
                Err(error) => {
                    warn(format_args!(
                        "✗ {error:#}  apps that run stay reachable meanwhile, and the platform goes on trying"
                    ));
                    greeting.set(ready::greet(&paths, &settings, None, began));
                }
            },
            () = server.keep(&paths) => {}
            () = cell.keep(&paths) => {}
            () = router.keep(&paths) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {}
        }
    }
    say("\nstopping: requests in flight are finished first");
    // The router is last, so that every request that it has accepted finds its server and its app.
    server.running.signal(libc::SIGTERM);
    cell.running.stop(DRAIN).await;
    server.running.stop(DRAIN).await;
    router.running.stop(DRAIN).await;
    for role in [SERVER, CELL, ROUTER, UP] {
        let _ = std::fs::remove_file(paths.pid(role));
    }
    say(format_args!(
        "stopped. Apps keep running without a way in; 'slipway up' continues with them, '{}' stops them too.",
        settings.down_command(&paths)
    ));
    Ok(ExitCode::SUCCESS)
}

/// What becomes of a platform that is not ready in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfLate {
    /// It ends with the error: whoever tries it for the first time is there to read it, and no app is reached through it.
    End,
    /// Its router serves apps, whatever keeps server and cell from being ready.
    GoOn,
}

impl IfLate {
    fn of(has_been_ready: bool, has_router: bool) -> Self {
        if has_been_ready || has_router {
            Self::GoOn
        } else {
            Self::End
        }
    }
}

/// Children that run with other settings than those that are asked for now are not taken over, and apps do not stay in a
/// kind of isolation that neither this `up` nor a later `down` would look into.
async fn make_way(
    paths: &Paths,
    args: &Args,
    admin: &AdminAddress,
    known: &Settings,
    adopted: &mut Adopted,
) -> anyhow::Result<()> {
    if !known.fit(args, admin) {
        adopted.end().await;
    }
    if known.isolation != settings::isolation(args) {
        adopted.end().await;
        if let Err(error) = down::stop_instances(paths, known).await {
            warn(format_args!(
                "apps that ran under the other isolation could not be stopped: {error:#}"
            ));
        }
    }
    Ok(())
}

/// Holds the data folder for whoever changes what runs there.
pub(crate) fn lock(paths: &Paths) -> anyhow::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(paths.lock())
        .with_context(|| {
            format!(
                "the data folder {} can't be used; choose another with --data",
                paths.data().display()
            )
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            let who = children::find(paths, UP)
                .map(|pid| format!(" (pid {pid})"))
                .unwrap_or_default();
            bail!(
                "another 'slipway up'{who} uses the data folder {}\n  try  slipway down --data {}   or another folder with --data",
                paths.data().display(),
                paths.data().display()
            )
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).context("the data folder can't be locked")
        }
    }
}

/// Children that an earlier supervisor left running.
#[derive(Debug)]
struct Adopted {
    server: Option<Running>,
    cell: Option<Running>,
    router: Option<Running>,
}

impl Adopted {
    fn find(paths: &Paths) -> Self {
        Self {
            server: children::adopt(paths, SERVER),
            cell: children::adopt(paths, CELL),
            router: children::adopt(paths, ROUTER),
        }
    }

    /// Where their listeners cannot be had, or do not fit, they are ended and started anew.
    async fn end(&mut self) {
        for child in [self.server.take(), self.cell.take(), self.router.take()]
            .into_iter()
            .flatten()
        {
            let mut child = child;
            child.stop(DRAIN).await;
        }
    }
}

async fn check_isolation(paths: &Paths, engine: &EngineArgs) -> anyhow::Result<()> {
    if engine.isolation == Isolation::Process {
        return Ok(());
    }
    let config = linux_config(paths, std::env::current_exe()?, engine);
    probe(config).await.map_err(anyhow::Error::from).context(
        "apps can't be put into containers here. For your own code only: 'slipway up --isolation process' runs them as plain \
         processes of this user, without walls between them",
    )
}

fn server_args(paths: &Paths, settings: &Settings, front: SocketAddr) -> Vec<String> {
    let data = paths.data().display().to_string();
    let mut args = [
        "--data",
        &data,
        "--domain",
        &settings.domain,
        "--front-port",
        &front.port().to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    args.extend(settings.bounds.args());
    args
}

fn cell_args(paths: &Paths, engine: &EngineArgs, budgets: BudgetArgs) -> Vec<String> {
    let data = paths.data().display().to_string();
    let mut args = [
        "--data",
        &data,
        "--isolation",
        engine.isolation.name(),
        "--pool",
        &engine.pool.to_string(),
    ]
    .map(str::to_owned)
    .to_vec();
    for platform in &engine.platform {
        args.extend(["--platform".to_owned(), platform.to_string()]);
    }
    args.extend(budgets.to_args());
    args
}

fn router_args(paths: &Paths, settings: &Settings) -> Vec<String> {
    let mut list = vec!["--data".to_owned(), paths.data().display().to_string()];
    for host in [settings.domain.clone(), format!("api.{}", settings.domain)] {
        list.extend(["--control-host".to_owned(), host]);
    }
    for proxy in &settings.trusted_proxies {
        list.extend(["--trusted-proxy".to_owned(), proxy.clone()]);
    }
    if settings.insecure_http {
        list.push("--insecure-http".to_owned());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_first_start_ends_when_it_is_late() {
        for (has_been_ready, has_router, want) in [
            (false, false, IfLate::End),
            (true, false, IfLate::GoOn),
            (false, true, IfLate::GoOn),
            (true, true, IfLate::GoOn),
        ] {
            let got = IfLate::of(has_been_ready, has_router);
            assert_eq!(
                got, want,
                "ready before: {has_been_ready}, router: {has_router}"
            );
        }
    }
}
