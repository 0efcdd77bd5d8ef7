//! The flags of `push`.

use std::path::PathBuf;

use model::limits::Megabytes;
use model::manifest::CheckType;

use crate::deployment::Rollout;

/// Push an app: upload its source, build it, start it
///
/// Takes the app from the current folder, or from -p. A manifest.yml is used where there is one; a flag wins over it.
/// Prints what was found and decided, the build's output, and the address at which the app answers.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct PushOptions {
    /// Name of the app [default: from the manifest, else the folder's name]
    pub(crate) app: Option<String>,
    /// Folder, jar, war or zip to push
    #[arg(short, long, value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// Manifest to use [default: manifest.yml]
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "no_manifest")]
    pub(crate) manifest: Option<PathBuf>,
    /// Ignore manifest.yml
    #[arg(long)]
    pub(crate) no_manifest: bool,
    /// Memory of one instance, such as 512M or 1G
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<Megabytes>,
    /// Disk of one instance, such as 1G
    #[arg(short = 'k', long, value_name = "SIZE")]
    pub(crate) disk: Option<Megabytes>,
    /// Number of instances
    #[arg(short, long, value_name = "N")]
    pub(crate) instances: Option<u32>,
    /// Buildpack to use, by name; may be given more than once; 'default' detects again
    #[arg(short, long = "buildpack", value_name = "NAME")]
    pub(crate) buildpacks: Vec<String>,
    /// Start command; 'null' returns to the buildpack's
    #[arg(short, long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub(crate) command: Option<String>,
    /// Stack to build and run on
    #[arg(short, long, value_name = "NAME")]
    pub(crate) stack: Option<String>,
    /// How health is checked: port, http or process
    #[arg(short = 'u', long = "health-check-type", value_name = "TYPE", value_parser = check_type)]
    pub(crate) health_check_type: Option<CheckType>,
    /// Path for the health check http
    #[arg(long, value_name = "PATH")]
    pub(crate) endpoint: Option<String>,
    /// Seconds until an instance must be healthy
    #[arg(short, long, value_name = "SECONDS", visible_alias = "app-start-timeout", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) timeout: Option<u32>,
    /// Env var; may be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Route such as shop.example.com/admin; may be given more than once
    #[arg(long = "route", value_name = "ROUTE", conflicts_with_all = ["no_route", "random_route"])]
    pub(crate) routes: Vec<String>,
    /// Take all routes from the app and give it none
    #[arg(long, conflicts_with = "random_route")]
    pub(crate) no_route: bool,
    /// Give a new app a route that nobody has
    #[arg(long)]
    pub(crate) random_route: bool,
    /// Upload, but neither build nor start; an app that runs is stopped
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Build, start nothing and give it no route: the app is only to run tasks; one that runs is stopped
    #[arg(long, conflicts_with_all = ["no_start", "strategy", "routes", "random_route"])]
    pub(crate) task: bool,
    #[command(flatten)]
    pub(crate) rollout: Rollout,
    /// Value for ((NAME)) in the manifest; may be given more than once
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) vars: Vec<(String, String)>,
    /// File with values for the manifest; may be given more than once
    #[arg(long = "vars-file", value_name = "FILE")]
    pub(crate) vars_files: Vec<PathBuf>,
}

fn check_type(text: &str) -> Result<CheckType, String> {
    match text {
        "port" => Ok(CheckType::Port),
        "http" => Ok(CheckType::Http),
        "process" | "none" => Ok(CheckType::Process),
        _ => Err("expected port, http or process".to_owned()),
    }
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        // The whole text may be a secret; it is not repeated.
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
