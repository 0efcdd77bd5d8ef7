//! `GET /`: where everything is. `cf` reads it at `cf api` and `cf login` and keeps what it says.

use api_types::{CliVersion, Info, RootDocument, RootLink, RootLinks, V3Root};
use axum::Json;
use axum::extract::State;
use http::HeaderMap;

use crate::request::Api;
use crate::urls::Urls;

/// The API version that clients plan with. From 3.211.0 on `cf apps` makes one call with `embed=process_instances`
/// instead of one a process. What lower versions promise and this server lacks (deployments, the cnb lifecycle, options
/// of routes, several bindings of one service) is refused with a text that says so, which is no worse than `cf`'s own
/// refusal below those versions. 3.224.0 would promise route policies.
const API_VERSION: &str = "3.211.0";

pub(crate) async fn root(State(api): State<Api>, headers: HeaderMap) -> Json<RootDocument> {
    let urls = Urls::of_request(&headers, api.control.settings());
    let base = || Some(RootLink::to(urls.base()));
    Json(RootDocument {
        links: RootLinks {
            root: base(),
            cloud_controller_v3: Some(RootLink::with_version(urls.to("/v3"), API_VERSION)),
            login: base(),
            uaa: base(),
            log_cache: base(),
            ..RootLinks::default()
        },
    })
}

pub(crate) async fn v3(State(api): State<Api>, headers: HeaderMap) -> Json<V3Root> {
    let urls = Urls::of_request(&headers, api.control.settings());
    let kinds = [
        "apps",
        "audit_events",
        "builds",
        "buildpacks",
        "domains",
        "droplets",
        "feature_flags",
        "organizations",
        "packages",
        "processes",
        "resource_matches",
        "routes",
        "service_credential_bindings",
        "service_instances",
        "spaces",
        "stacks",
    ];
    let mut links = urls.links([("self", "/v3".to_owned())]);
    links.extend(kinds.map(|kind| (kind.to_owned(), urls.link(&format!("/v3/{kind}")))));
    Json(V3Root { links })
}

pub(crate) async fn info(State(api): State<Api>, headers: HeaderMap) -> Json<Info> {
    let urls = Urls::of_request(&headers, api.control.settings());
    Json(Info {
        build: api.control.settings().version.clone(),
        cli_version: CliVersion::default(),
        description: "Slipway".into(),
        name: "slipway".into(),
        custom: custom(&api),
        links: urls.links([("self", "/v3/info".to_owned())]),
        ..Info::default()
    })
}

/// What clients of this platform want to know beyond Cloud Foundry: how apart apps are kept, which decides whether a
/// loopback address in an app's variables can mean the host.
fn custom(api: &Api) -> serde_json::Map<String, serde_json::Value> {
    let isolation = api.control.isolation();
    isolation
        .map(|isolation| ("isolation".to_owned(), isolation.name().into()))
        .into_iter()
        .collect()
}
