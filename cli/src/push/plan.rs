//! Flags and manifest → what is wanted of each app.

mod overrides;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use model::manifest::{AppManifest, Manifest, ManifestError, Vars};

use overrides::override_with_flags;

use super::{Plan, PlannedApp, PushOptions};
use crate::error::{CliError, Exit, Outcome};

const NAMES: [&str; 2] = ["manifest.yml", "manifest.yaml"];

pub(super) fn make(options: &PushOptions) -> Outcome<Plan> {
    let here =
        std::env::current_dir().map_err(|error| CliError::file(Path::new("."), "find", &error))?;
    make_in(options, &here)
}

/// As [`make`], with `here` as the current folder.
pub(super) fn make_in(options: &PushOptions, here: &Path) -> Outcome<Plan> {
    let file = manifest_file(options, here)?;
    let mut manifest = match &file {
        Some(path) => read(&here.join(path), path, options, here)?,
        None => Manifest {
            version: None,
            applications: vec![AppManifest::default()],
        },
    };
    choose(&mut manifest, options)?;
    let folder = file
        .as_deref()
        .and_then(Path::parent)
        .map_or_else(|| here.to_owned(), |folder| here.join(folder));
    let mut apps = Vec::new();
    for app in &mut manifest.applications {
        refuse_unsupported(app, file.as_deref())?;
        apps.push(plan_app(app, options, here, &folder)?);
        override_with_flags(app, options);
    }
    Ok(Plan {
        manifest,
        manifest_file: file,
        apps,
    })
}

/// `-f`, else the manifest of the current folder, else that of the pushed one.
fn manifest_file(options: &PushOptions, here: &Path) -> Outcome<Option<PathBuf>> {
    if options.no_manifest {
        return Ok(None);
    }
    let inside = |folder: &Path| {
        NAMES
            .map(|name| folder.join(name))
            .into_iter()
            .find(|path| here.join(path).is_file())
    };
    if let Some(given) = &options.manifest {
        let full = here.join(given);
        if full.is_dir() {
            return inside(given).map(Some).ok_or_else(|| {
                CliError::usage(format!("there is no manifest.yml in {}", given.display()))
                    .hint("slipway push --no-manifest")
            });
        }
        return Ok(Some(given.clone()));
    }
    let pushed = options
        .path
        .as_deref()
        .filter(|path| here.join(path).is_dir());
    Ok(inside(Path::new("")).or_else(|| pushed.and_then(inside)))
}

fn read(full: &Path, shown: &Path, options: &PushOptions, here: &Path) -> Outcome<Manifest> {
    let text = std::fs::read_to_string(full)
        .map_err(|error| CliError::file(shown, "read", &error).exiting(Exit::Usage))?;
    let vars = read_vars(&options.vars, &options.vars_files, here)?;
    Manifest::parse_with_vars(&text, &vars).map_err(|error| manifest_error(shown, &error))
}

fn read_vars(given: &[(String, String)], files: &[PathBuf], here: &Path) -> Outcome<Vars> {
    let mut vars = Vars::new();
    for path in files {
        let text = std::fs::read_to_string(here.join(path))
            .map_err(|error| CliError::file(path, "read", &error).exiting(Exit::Usage))?;
        vars.add_file(&text)
            .map_err(|error| manifest_error(path, &error))?;
    }
    for (name, value) in given {
        vars.set(name, value);
    }
    Ok(vars)
}

/// The form in which compilers name a place: `manifest.yml:7:5 unknown key …` and the lines.
fn manifest_error(file: &Path, error: &ManifestError) -> CliError {
    let shown = CliError::new(
        "E-MANIFEST",
        Exit::Usage,
        format!("{}:{error}", file.display()),
    )
    .lines(error.excerpt_lines());
    match &error.hint {
        Some(hint) => shown.hint(hint),
        None => shown,
    }
}

/// Applies `APP`: the one app of a manifest takes the name, of several it chooses one.
fn choose(manifest: &mut Manifest, options: &PushOptions) -> Outcome {
    let count = manifest.applications.len();
    let Some(name) = &options.app else {
        if count > 1 && has_app_flags(options) {
            let message = format!("the manifest has {count} apps, and the flags given are for one");
            return Err(CliError::usage(message).hint("slipway push APP …  for one of them"));
        }
        return unique_names(manifest);
    };
    if count == 1 {
        manifest.applications[0].name = Some(name.clone());
        return Ok(());
    }
    unique_names(manifest)?;
    let names: Vec<_> = manifest
        .applications
        .iter()
        .map(|app| app.display_name().to_owned())
        .collect();
    manifest
        .applications
        .retain(|app| app.name.as_ref() == Some(name));
    if manifest.applications.is_empty() {
        let message = format!(
            "the manifest has no app '{name}'; it has {}",
            names.join(", ")
        );
        return Err(
            CliError::new("E-MANIFEST", Exit::Usage, message).hint("slipway push --no-manifest")
        );
    }
    Ok(())
}

fn unique_names(manifest: &Manifest) -> Outcome {
    let apps = &manifest.applications;
    for (index, app) in apps.iter().enumerate() {
        if app.name.is_none() && apps.len() > 1 {
            let message = format!("app {} of the manifest has no name", index + 1);
            return Err(CliError::new("E-MANIFEST", Exit::Usage, message).hint("name: my-app"));
        }
        if app.name.is_some() && apps[..index].iter().any(|other| other.name == app.name) {
            let message = format!(
                "the manifest has two apps with the name '{}'",
                app.display_name()
            );
            return Err(CliError::new("E-MANIFEST", Exit::Usage, message));
        }
    }
    Ok(())
}

fn has_app_flags(options: &PushOptions) -> bool {
    options.path.is_some()
        || options.memory.is_some()
        || options.disk.is_some()
        || options.instances.is_some()
        || !options.buildpacks.is_empty()
        || options.command.is_some()
        || options.stack.is_some()
        || options.health_check_type.is_some()
        || options.endpoint.is_some()
        || options.timeout.is_some()
        || !options.env.is_empty()
        || !options.routes.is_empty()
}

fn refuse_unsupported(app: &AppManifest, file: Option<&Path>) -> Outcome {
    let lifecycle = app.lifecycle.as_deref().filter(|name| *name != "buildpack");
    let key = match (&app.docker, app.sidecars.is_empty(), lifecycle) {
        (Some(_), _, _) => "docker",
        (None, false, _) => "sidecars",
        (None, true, Some(_)) => "lifecycle",
        (None, true, None) => return Ok(()),
    };
    let place = file
        .zip(app.position(key))
        .map(|(file, at)| format!("{}:{at} ", file.display()))
        .unwrap_or_default();
    let message = format!("{place}'{key}' is not supported by Slipway yet");
    Err(CliError::new("E-MANIFEST", Exit::Usage, message)
        .hint(format!("remove '{key}' of app '{}'", app.display_name())))
}

fn plan_app(
    app: &mut AppManifest,
    options: &PushOptions,
    here: &Path,
    manifest_folder: &Path,
) -> Outcome<PlannedApp> {
    let (path, path_reason) = match (&options.path, &app.path) {
        (Some(path), _) => (here.join(path), "-p"),
        (None, Some(path)) => (manifest_folder.join(path), "path in the manifest"),
        (None, None) => (here.to_owned(), "this folder; -p for another"),
    };
    let (name, name_reason) = match (&options.app, &app.name) {
        (Some(name), _) => (name.clone(), "as given"),
        (None, Some(name)) => (name.clone(), "from the manifest"),
        (None, None) => (
            name_of(&path)?,
            "the folder's name; slipway push NAME for another",
        ),
    };
    app.name = Some(name.clone());
    // The server has no use for a path of this machine.
    app.path = None;
    Ok(PlannedApp {
        name,
        name_reason,
        path,
        path_reason,
    })
}

/// A name that is fit for a host name too.
fn name_of(path: &Path) -> Outcome<String> {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let stem = if full.is_dir() {
        full.file_name()
    } else {
        full.file_stem()
    };
    let lower = stem
        .map(|stem| stem.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let dashed: String = lower
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let name = dashed
        .split('-')
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    if name.is_empty() {
        return Err(
            CliError::usage(format!("{} gives no name for an app", path.display()))
                .hint("slipway push NAME"),
        );
    }
    Ok(name)
}
