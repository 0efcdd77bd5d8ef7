//! What a push found, decided and achieved, for people and for scripts.

use std::time::Duration;

use api_types::{App, Page, Revision, Route};
use http::Method;
use owo_colors::OwoColorize;
use serde_json::json;

use super::{Plan, PlannedApp, dim, files_and_size};
use crate::client::{Call, authority, is_https, is_ip_literal};
use crate::context::{Context, Target};
use crate::error::Outcome;
use crate::files::{FileSet, Origin};

/// What is known before the files are read, which may take a while.
pub(super) fn begin(cx: &Context, app: &PlannedApp, target: &Target) {
    let (org, space) = (&target.org.name, &target.space.name);
    cx.ui.step(
        "app",
        format!(
            "{}  {}  org {org} / space {space}",
            app.name.bold(),
            dim(format!("({})", app.name_reason))
        ),
    );
}

pub(super) fn files(
    cx: &Context,
    plan: &Plan,
    app: &PlannedApp,
    files: &FileSet,
    target: &Target,
) -> Outcome {
    let (org, space) = (&target.org.name, &target.space.name);
    let path = match &files.origin {
        Origin::Folder(path) | Origin::Archive(path) => path.display().to_string(),
    };
    cx.ui.event(
        "push.start",
        json!({"app": app.name, "org": org, "space": space, "path": path, "files": files.files(), "bytes": files.bytes(),
               "manifest": plan.manifest_file}),
    )?;
    cx.ui.step(
        "from",
        format!(
            "{path}  {}  {}",
            files_and_size(files),
            dim(format!("({})", app.path_reason))
        ),
    );
    match &plan.manifest_file {
        Some(file) => cx.ui.step(
            "with",
            format!(
                "{}  {}",
                file.display(),
                dim("(-f for another, --no-manifest for none)")
            ),
        ),
        None => cx
            .ui
            .step("with", dim("no manifest.yml; defaults and flags")),
    }
    let landmarks = files.landmarks();
    if !landmarks.is_empty() {
        cx.ui.step(
            "found",
            format!(
                "{}  {}",
                landmarks.join(", "),
                dim("(the buildpacks decide; -b to choose one)")
            ),
        );
    }
    Ok(())
}

pub(super) fn routes(cx: &Context, routes: &[Route]) {
    if routes.is_empty() {
        cx.ui
            .step("route", dim("none  (--route, or without --no-route)"));
    }
    for (index, route) in routes.iter().enumerate() {
        cx.ui
            .step(if index == 0 { "route" } else { "" }, cx.route_url(route));
    }
}

pub(super) fn not_started(cx: &Context, name: &str, package: &str) -> Outcome {
    cx.ui.event(
        "result",
        json!({"ok": true, "app": name, "package": package, "started": false}),
    )?;
    if cx.ui.json() {
        return Ok(());
    }
    cx.ui.step("try", format!("slipway start {name}"));
    cx.ui
        .data(format!("uploaded {name} package {package} not started"))
}

/// The end of a push that only makes an app ready for tasks.
pub(super) fn for_tasks(cx: &Context, name: &str, droplet: &str, took: Duration) -> Outcome {
    cx.ui.event(
        "result",
        json!({"ok": true, "app": name, "droplet": droplet, "started": false, "seconds": took.as_secs_f64()}),
    )?;
    if cx.ui.json() {
        return Ok(());
    }
    cx.ui.step(
        "try",
        format!("slipway run-task {name} -c 'COMMAND' --wait"),
    );
    cx.ui
        .data(format!("built {name} droplet {droplet} not started"))
}

/// The end: hints first, then the one line that scripts read.
pub(super) async fn live(cx: &Context, app: &App, routes: &[Route], took: Duration) -> Outcome {
    let release = release(cx, &app.guid).await;
    let urls: Vec<_> = routes.iter().map(|route| cx.route_url(route)).collect();
    cx.ui.event(
        "result",
        json!({"ok": true, "app": app.name, "guid": app.guid, "url": urls.first(), "urls": urls, "release": release,
               "seconds": took.as_secs_f64(), "started": true}),
    )?;
    if cx.ui.json() {
        return Ok(());
    }
    let name = &app.name;
    cx.ui.step(
        "try",
        format!("slipway logs {name}  |  slipway scale {name} -i 2  |  slipway app {name}"),
    );
    if let Some(curl) = urls.first().and_then(|url| curl(cx.client.api(), url)) {
        cx.ui.step("", curl);
    }
    cx.ui.data(live_line(
        urls.first().map(String::as_str),
        name,
        release,
        took,
    ))
}

fn live_line(url: Option<&str>, name: &str, release: Option<u64>, took: Duration) -> String {
    let what = url.map_or_else(|| format!("{name} (no route)"), str::to_owned);
    let release = release
        .map(|version| format!(" release v{version}"))
        .unwrap_or_default();
    format!("live {what}{release} {}s", took.as_secs_f64().ceil())
}

/// A form that works where names under `localhost`, or a domain that is not in DNS yet, do not resolve.
fn curl(api: &str, url: &str) -> Option<String> {
    // A certificate is one for names.
    if is_https(api) {
        return None;
    }
    let host = authority(url);
    let name = host.split(':').next().unwrap_or(host);
    let path = crate::client::path_of(url);
    let address = if is_ip_literal(api) {
        authority(api).to_owned()
    } else if crate::client::is_local(api) {
        format!(
            "127.0.0.1{}",
            authority(api)
                .find(':')
                .map_or("", |at| &authority(api)[at..])
        )
    } else {
        return None;
    };
    Some(format!("curl -H 'Host: {name}' http://{address}{path}"))
}

/// The number of the running revision, where the server counts revisions.
async fn release(cx: &Context, app: &str) -> Option<u64> {
    let call = Call::new(
        Method::GET,
        cx.client.at(&format!("/v3/apps/{app}/revisions/deployed")),
    );
    let page: Page<Revision> = cx.client.send(call).await.ok()?.read().ok()?;
    page.resources.iter().map(|revision| revision.version).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_for_scripts() {
        let took = Duration::from_millis(15_300);
        for (url, release, want) in [
            (
                Some("http://hello.localhost:8080"),
                Some(1),
                "live http://hello.localhost:8080 release v1 16s",
            ),
            (
                Some("http://hello.localhost:8080"),
                None,
                "live http://hello.localhost:8080 16s",
            ),
            (None, Some(3), "live hello (no route) release v3 16s"),
        ] {
            assert_eq!(live_line(url, "hello", release, took), want);
        }
    }

    #[test]
    fn the_curl_form_works_without_name_resolution() {
        for (api, url, want) in [
            (
                "http://127.0.0.1:8080",
                "http://hello.localhost:8080",
                Some("curl -H 'Host: hello.localhost' http://127.0.0.1:8080/"),
            ),
            (
                "http://api.localhost:8080",
                "http://hello.localhost:8080/admin",
                Some("curl -H 'Host: hello.localhost' http://127.0.0.1:8080/admin"),
            ),
            (
                "http://10.0.0.5",
                "http://hello.example.com",
                Some("curl -H 'Host: hello.example.com' http://10.0.0.5/"),
            ),
            ("http://api.example.com", "http://hello.example.com", None),
            ("https://10.0.0.5", "https://hello.example.com", None),
        ] {
            assert_eq!(curl(api, url).as_deref(), want, "{api} {url}");
        }
    }
}
