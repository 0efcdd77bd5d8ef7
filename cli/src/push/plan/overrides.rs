//! Flags over the manifest.

use model::manifest::{AppManifest, ProcessSettings, RouteManifest, Setting};
use model::secret::Secret;

use crate::push::PushOptions;

pub(super) fn override_with_flags(app: &mut AppManifest, options: &PushOptions) {
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
    if options.rollout.strategy.is_none() {
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
    if options.no_route || options.task {
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
