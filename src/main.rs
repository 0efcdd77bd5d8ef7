//! The one binary. Parse, dispatch, nothing else.

mod children;
mod down;
mod logging;
mod paths;
mod roles;
mod run_file;
mod up;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Subcommand as _};

/// Commands that run the platform; all others are the client's.
#[derive(Debug, clap::Parser)]
#[command(name = "slipway", version, disable_help_subcommand = true)]
struct Platform {
    #[command(subcommand)]
    command: PlatformCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PlatformCommand {
    Up(up::Args),
    Down(down::Args),
    #[command(hide = true)]
    Server(roles::server::Args),
    #[command(hide = true)]
    Router(roles::router::Args),
    #[command(hide = true)]
    Cell(roles::cell::Args),
}

fn main() -> ExitCode {
    let args = std::env::args_os().collect::<Vec<OsString>>();
    let first = args.get(1).and_then(|first| first.to_str());
    let code = match first {
        // Before any thread or runtime exists: both go on as other processes.
        Some("shim") => cells_shim::main(&args[2..]),
        Some("lifecycle") => builder::main(&args[2..]),
        Some("up" | "down" | "server" | "router" | "cell") => platform(args),
        None | Some("help" | "--help" | "-h") if args.len() <= 2 => help(),
        Some("help") if matches!(args[2].to_str(), Some("up" | "down")) => {
            platform(vec![args[0].clone(), args[2].clone(), "--help".into()])
        }
        _ => cli::main(args),
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The client's commands and the platform's in one list.
fn help() -> i32 {
    match PlatformCommand::augment_subcommands(cli::command()).print_help() {
        // Where the terminal has gone there is nobody to tell.
        Ok(()) | Err(_) => 0,
    }
}

fn platform(args: Vec<OsString>) -> i32 {
    let matches = match Platform::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => error.exit(),
    };
    let platform = match Platform::from_arg_matches(&matches) {
        Ok(platform) => platform,
        Err(error) => error.exit(),
    };
    match platform.command {
        PlatformCommand::Up(args) => up::main(args),
        PlatformCommand::Down(args) => down::main(args),
        PlatformCommand::Server(args) => roles::main("server", roles::server::run(args)),
        PlatformCommand::Router(args) => roles::main("router", roles::router::run(args)),
        PlatformCommand::Cell(args) => roles::main("cell", roles::cell::run(args)),
    }
}
