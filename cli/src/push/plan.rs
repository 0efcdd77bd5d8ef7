//! Flags and manifest → what is wanted of each app.

use std::path::{Path, PathBuf};

use model::manifest::{
    AppManifest, Manifest, ManifestError, ProcessSettings, RouteManifest, Setting, Vars,
};
use model::secret::Secret;

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

fn override_with_flags(app: &mut AppManifest, options: &PushOptions) {
    // Where the manifest describes `web` under `processes`, that entry is the one that counts.
    let web = match app
        .processes
        .iter_mut()
        .find(|process| process.kind == "web")
    {
        Some(process) => &mut process.settings,
        None => &mut app.web,
    };
    override_process(web, options);
    if !options.buildpacks.is_empty() {
        let detect = options
            .buildpacks
            .iter()
            .any(|name| name == "default" || name == "null");
        app.buildpacks = Setting::Set(if detect {
            vec![]
        } else {
            options.buildpacks.clone()
        });
    }
    if let Some(stack) = &options.stack {
        app.stack = Setting::Set(stack.clone());
    }
    for (name, value) in &options.env {
        app.env
            .insert(name.clone(), Some(Secret::new(value.clone())));
    }
    override_routes(app, options);
}

fn override_process(web: &mut ProcessSettings, options: &PushOptions) {
    let replace = |setting: &mut Setting<u32>, value: Option<u32>| {
        if let Some(value) = value {
            *setting = Setting::Set(value);
        }
    };
    // A deployment takes these as its own options, so that the old instances keep what they have.
    if options.strategy.is_none() {
        replace(&mut web.instances, options.instances);
        if let Some(memory) = options.memory {
            web.memory = Setting::Set(memory);
        }
        if let Some(disk) = options.disk {
            web.disk_quota = Setting::Set(disk);
        }
    }
    replace(&mut web.timeout, options.timeout);
    if let Some(command) = &options.command {
        let reset = matches!(command.as_str(), "null" | "default" | "");
        web.command = if reset {
            Setting::Reset
        } else {
            Setting::Set(command.clone())
        };
    }
    if let Some(check) = options.health_check_type {
        web.health_check_type = Setting::Set(check);
    }
    if let Some(endpoint) = &options.endpoint {
        web.health_check_http_endpoint = Setting::Set(endpoint.clone());
    }
}

fn override_routes(app: &mut AppManifest, options: &PushOptions) {
    if options.no_route {
        (app.no_route, app.random_route, app.routes) = (Some(true), None, None);
    } else if options.random_route {
        app.random_route = Some(true);
    } else if !options.routes.is_empty() {
        app.no_route = None;
        let bare = |route: &String| {
            route
                .split_once("://")
                .map_or(route.as_str(), |(_, rest)| rest)
                .to_owned()
        };
        let route = |route| RouteManifest {
            route: bare(route),
            protocol: None,
            options: serde_json::Map::new(),
        };
        app.routes = Some(options.routes.iter().map(route).collect());
    }
    let has_routes = app.routes.as_ref().is_some_and(|routes| !routes.is_empty());
    if app.no_route != Some(true) && app.random_route != Some(true) && !has_routes {
        app.default_route = Some(true);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use model::limits::Megabytes;

    use super::*;

    fn in_folder(manifest: Option<&str>, options: &PushOptions) -> Outcome<Plan> {
        let outer = tempfile::tempdir().expect("a folder");
        let here = outer.path().join("My_App 2");
        fs::create_dir_all(here.join("sub")).expect("made");
        if let Some(text) = manifest {
            fs::write(here.join("manifest.yml"), text).expect("written");
        }
        make_in(options, &here)
    }

    #[test]
    fn the_name_is_flag_then_manifest_then_folder() {
        let named = PushOptions {
            app: Some("flag".into()),
            ..PushOptions::default()
        };
        let manifest = Some("applications:\n- name: shop\n");
        for (manifest, options, want) in [
            (None, PushOptions::default(), "my-app-2"),
            (manifest, PushOptions::default(), "shop"),
            (manifest, named.clone(), "flag"),
            (
                Some("applications:\n- memory: 1G\n"),
                PushOptions::default(),
                "my-app-2",
            ),
            (None, named, "flag"),
        ] {
            let plan = in_folder(manifest, &options).expect(want);
            assert_eq!(plan.apps[0].name, want);
            assert_eq!(plan.manifest.applications[0].name.as_deref(), Some(want));
        }
    }

    #[test]
    fn flags_win_over_the_manifest() {
        let options = PushOptions {
            memory: Some(Megabytes(256)),
            instances: Some(3),
            command: Some("null".into()),
            buildpacks: vec!["java".into()],
            env: vec![("A".into(), "flag=1".into())],
            routes: vec!["http://x.example.com/p".into()],
            ..PushOptions::default()
        };
        let text = "applications:\n- name: a\n  memory: 1G\n  command: run\n  env: {A: file, B: b}\n  no-route: true\n";
        let plan = in_folder(Some(text), &options).expect("planned");
        insta::assert_snapshot!(plan.manifest.to_yaml(), @r"
        applications:
        - name: 'a'
          buildpacks:
          - 'java'
          command: null
          instances: 3
          memory: '256M'
          env:
            A: 'flag=1'
            B: 'b'
          routes:
          - route: 'x.example.com/p'
        ");
    }

    #[test]
    fn without_any_routes_the_default_one_is_asked_for() {
        let text = |more: &str| format!("applications:\n- name: a\n{more}");
        for (more, want) in [
            ("", Some(true)),
            ("  no-route: true\n", None),
            ("  random-route: true\n", None),
            ("  routes: [{route: a.b}]\n", None),
            ("  routes: []\n", Some(true)),
        ] {
            let plan = in_folder(Some(&text(more)), &PushOptions::default()).expect("planned");
            assert_eq!(plan.manifest.applications[0].default_route, want, "{more}");
        }
    }

    #[test]
    fn flags_of_web_reach_the_process_that_the_manifest_names() {
        let options = PushOptions {
            instances: Some(2),
            ..PushOptions::default()
        };
        let text =
            "applications:\n- name: a\n  processes: [{type: web, instances: 1}, {type: worker}]\n";
        let plan = in_folder(Some(text), &options).expect("planned");
        let app = &plan.manifest.applications[0];
        assert_eq!(app.processes[0].settings.instances, Setting::Set(2));
        assert_eq!(app.web.instances, Setting::Keep);
    }

    #[test]
    fn of_several_apps_one_can_be_chosen() {
        let two = "applications:\n- name: a\n  path: sub\n- name: b\n";
        let plan = in_folder(Some(two), &PushOptions::default()).expect("both");
        assert_eq!(
            plan.apps
                .iter()
                .map(|app| app.name.as_str())
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert!(plan.apps[0].path.ends_with("sub"));
        let one = PushOptions {
            app: Some("b".into()),
            instances: Some(1),
            ..PushOptions::default()
        };
        assert_eq!(in_folder(Some(two), &one).expect("one").apps.len(), 1);
        for (manifest, options, what) in [
            (
                two,
                PushOptions {
                    instances: Some(1),
                    ..PushOptions::default()
                },
                "flags given are for one",
            ),
            (
                two,
                PushOptions {
                    app: Some("c".into()),
                    ..PushOptions::default()
                },
                "no app 'c'; it has a, b",
            ),
            (
                "applications:\n- name: a\n- name: a\n",
                PushOptions::default(),
                "two apps with the name 'a'",
            ),
            (
                "applications:\n- name: a\n- memory: 1G\n",
                PushOptions::default(),
                "app 2 of the manifest has no name",
            ),
            (
                "applications:\n- name: a\n  docker: {image: x}\n",
                PushOptions::default(),
                "manifest.yml:3:3 'docker' is not supported",
            ),
        ] {
            let error = in_folder(Some(manifest), &options).expect_err(what);
            assert!(
                error.message.contains(what) && error.exit_code() == 2,
                "{error}"
            );
        }
    }

    #[test]
    fn a_wrong_manifest_is_shown_with_its_place() {
        let error = in_folder(
            Some("applications:\n- name: hello\n  memmory: 512M\n"),
            &PushOptions::default(),
        )
        .expect_err("wrong");
        insta::assert_snapshot!(error, @r"
        ✗ E-MANIFEST manifest.yml:3:3 unknown key 'memmory' — did you mean 'memory'?
          2 | - name: hello
          3 |   memmory: 512M
        ");
        assert_eq!(error.exit_code(), 2);
    }
}
