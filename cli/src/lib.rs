//! The `slipway` client: `cf`'s verbs and flags, over the calls that `cf` makes.
//!
//! A command reads its flags, makes calls of Cloud Foundry's v3 API, and prints: data on stdout, talk on stderr, one JSON
//! object (or one a line, for streams) with `--json`. There is no private way into the server, so whatever this client can
//! do, `cf` and `curl` can do too. A failure says what, shows evidence and names the next command to type; see [`error::CliError`].
//!
//! Start with [`commands::Command`], which lists the verbs, then [`push`], the one that does most. Nothing here knows how
//! the platform works inside.

#![allow(
    clippy::missing_errors_doc,
    reason = "every error is a CliError, which explains itself"
)]

mod calls;
mod client;
mod commands;
mod config;
mod context;
mod deployment;
mod environment;
mod error;
mod files;
mod logs;
mod loopback;
mod push;
mod stage;
mod start;
mod task;
mod ui;

#[cfg(feature = "fuzz")]
pub mod fuzz;

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser};

use commands::{Command, Watched};
use config::Config;
use error::{CliError, Exit};
use ui::Ui;

/// What every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
struct Options {
    /// Print JSON: one value, or one object a line for push, logs and run-task --wait
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Parser)]
#[command(
    name = "slipway",
    version,
    about = "Push source, get a running app",
    arg_required_else_help = true
)]
struct Top {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// The client alone: parses `args` (the first is the program's name), runs, and gives the exit code.
pub fn main(mut args: Vec<OsString>) -> i32 {
    expand_short_name(&mut args);
    let json = args.iter().any(|arg| arg == "--json");
    let parsed = Top::command()
        .try_get_matches_from(args)
        .and_then(|matches| Top::from_arg_matches(&matches));
    match parsed {
        Ok(top) => run(top.command, &top.options),
        Err(error) => parse_failure(&error, json),
    }
}

/// `slipway a` → `slipway apps`.
fn expand_short_name(args: &mut [OsString]) {
    let is_flag = |arg: &&mut OsString| arg.as_encoded_bytes().starts_with(b"-");
    let Some(verb) = args.iter_mut().skip(1).find(|arg| !is_flag(arg)) else {
        return;
    };
    if let Some((_, full)) = commands::SHORT_NAMES
        .iter()
        .find(|(short, _)| verb == short)
    {
        *verb = (*full).into();
    }
}

/// Whether the client of this user knows a server. A configuration that cannot be read counts as one: it is not ours to
/// replace.
#[must_use]
pub fn has_target() -> bool {
    match Config::path().and_then(|path| Config::load(&path)) {
        Ok(config) => config.api.is_some(),
        Err(_) => true,
    }
}

/// The client's commands as clap has them, for help and completion.
#[must_use]
pub fn command() -> clap::Command {
    Top::command()
}

/// Runs a parsed command on a runtime of its own, and gives the exit code.
fn run(command: Command, options: &Options) -> i32 {
    let ui = Ui::new(options.json);
    let watched = command.watched();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = CliError::other(format!("the client cannot start: {error}"));
            ui.fail(&error);
            return error.exit_code();
        }
    };
    let result = runtime.block_on(async {
        tokio::select! {
            // First of all, so that a question that comes at once finds the handler of Ctrl-C.
            biased;
            _ = tokio::signal::ctrl_c() => Err(CliError::interrupted()),
            result = Box::pin(command.run(ui.clone())) => result,
        }
    });
    // Reading a large folder, or a person who does not answer, does not hold up Ctrl-C.
    runtime.shutdown_background();
    match result {
        Ok(()) => Exit::Ok as i32,
        Err(error) => finish(&ui, watched, &error),
    }
}

/// Says what is to be said of a failure, and gives the exit code.
fn finish(ui: &Ui, watched: Watched, error: &CliError) -> i32 {
    match (watched, error.exit) {
        // Ctrl-C is how following logs ends; there is nothing to say about it.
        (Watched::Stream, Exit::Interrupted) => error.exit_code(),
        (Watched::Stream | Watched::Answer, Exit::Pipe) => Exit::Ok as i32,
        (Watched::Work, Exit::Pipe) => {
            ui.warn(&error.message);
            error.exit_code()
        }
        _ => {
            ui.fail(error);
            error.exit_code()
        }
    }
}

/// Prints what clap says of arguments that it could not take, or the help that was asked for, and gives the exit code.
fn parse_failure(error: &clap::Error, json: bool) -> i32 {
    if json && error.use_stderr() {
        let text = error.to_string();
        let first = text
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        let error = CliError::usage(first);
        Ui::new(true).fail(&error);
        return error.exit_code();
    }
    // Where the terminal has gone there is nobody to tell.
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage as i32
    } else {
        Exit::Ok as i32
    }
}

#[cfg(test)]
mod tests;
