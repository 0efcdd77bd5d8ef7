//! Every route of the public API, in one list.

use std::sync::Arc;

use api_control::Control;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::uri::PathAndQuery;
use http::{Method, Uri};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::error::unknown_request;
use crate::request::{Api, authenticate};
use crate::token::{KeyError, Tokens};
use crate::v3::{
    absent, apps, bindings, buildpacks, builds, collection, deployments, domains, droplets,
    environment, environment_groups, events, feature_flags, features, jobs, manifests, orgs,
    packages, processes, resource_matches, revisions, roles, routes as v3_routes, scaling,
    service_instances, spaces, stacks, stats, tasks, users,
};
use crate::{completion, context, log_cache, root, uaa, upload};

/// One method on one path. It needs a token, unless it is marked open.
struct Route {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the inventory test walks the list by it")
    )]
    method: Method,
    path: &'static str,
    open: bool,
    handler: MethodRouter<Api>,
}

#[rustfmt::skip]
fn list() -> Vec<Route> {
    vec![
        // Where everything is
        get("/", root::root).open(),
        get("/v3", root::v3).open(),
        get("/v3/info", root::info).open(),

        // UAA
        get("/login", uaa::login).open(),
        post("/oauth/token", uaa::token).open(),
        get("/Users", uaa::users),
        post("/Users", uaa::create_user),
        get("/token_key", uaa::token_key).open(),
        get("/token_keys", uaa::token_keys).open(),

        // Log-cache
        get("/api/v1/info", log_cache::info).open(),
        get("/api/v1/read/{app}", log_cache::read),

        // Organizations and spaces
        get("/v3/organizations", orgs::list),
        post("/v3/organizations", orgs::create),
        get("/v3/organizations/{org}", orgs::show),
        patch("/v3/organizations/{org}", orgs::update),
        delete("/v3/organizations/{org}", orgs::delete),
        get("/v3/organizations/{org}/domains", domains::list_of_org),
        get("/v3/organizations/{org}/domains/default", domains::default_of_org),
        get("/v3/organizations/{org}/relationships/default_isolation_segment", orgs::isolation_segment),
        get("/v3/spaces", spaces::list),
        post("/v3/spaces", spaces::create),
        get("/v3/spaces/{space}", spaces::show),
        patch("/v3/spaces/{space}", spaces::update),
        delete("/v3/spaces/{space}", spaces::delete),
        get("/v3/spaces/{space}/features/{name}", spaces::feature),
        get("/v3/spaces/{space}/relationships/isolation_segment", spaces::isolation_segment),
        post("/v3/spaces/{space}/actions/apply_manifest", manifests::apply),
        post("/v3/spaces/{space}/manifest_diff", manifests::diff),
        delete("/v3/spaces/{space}/routes", v3_routes::delete_unmapped),

        // Apps
        get("/v3/apps", apps::list),
        post("/v3/apps", apps::create),
        get("/v3/apps/{app}", apps::show),
        patch("/v3/apps/{app}", apps::update),
        delete("/v3/apps/{app}", apps::delete),
        post("/v3/apps/{app}/actions/start", apps::start),
        post("/v3/apps/{app}/actions/stop", apps::stop),
        post("/v3/apps/{app}/actions/restart", apps::restart),
        get("/v3/apps/{app}/manifest", manifests::of_app),
        get("/v3/apps/{app}/env", environment::all),
        get("/v3/apps/{app}/environment_variables", environment::show),
        patch("/v3/apps/{app}/environment_variables", environment::update),
        get("/v3/apps/{app}/features/{name}", features::show),
        get("/v3/apps/{app}/ssh_enabled", features::ssh_enabled),
        get("/v3/apps/{app}/droplets", droplets::list_of_app),
        get("/v3/apps/{app}/droplets/current", droplets::current),
        get("/v3/apps/{app}/relationships/current_droplet", droplets::current_relationship),
        patch("/v3/apps/{app}/relationships/current_droplet", droplets::set_current),
        get("/v3/apps/{app}/packages", packages::list_of_app),
        get("/v3/apps/{app}/builds", builds::list_of_app),
        get("/v3/apps/{app}/routes", v3_routes::list_of_app),
        get("/v3/apps/{app}/revisions", revisions::list),
        get("/v3/apps/{app}/revisions/deployed", revisions::deployed),
        get("/v3/apps/{app}/sidecars", absent::list_of_app),

        // One-off tasks
        get("/v3/tasks", tasks::list),
        get("/v3/tasks/{task}", tasks::show),
        patch("/v3/tasks/{task}", tasks::update),
        post("/v3/tasks/{task}/actions/cancel", tasks::cancel),
        // The older form, which `cf` still uses.
        put("/v3/tasks/{task}/cancel", tasks::cancel),
        get("/v3/apps/{app}/tasks", tasks::list_of_app),
        post("/v3/apps/{app}/tasks", tasks::create),

        // Processes
        get("/v3/processes", processes::list),
        get("/v3/processes/{process}", processes::show),
        patch("/v3/processes/{process}", processes::update),
        get("/v3/processes/{process}/stats", stats::show),
        get("/v3/processes/{process}/sidecars", absent::list_of_process),
        post("/v3/processes/{process}/actions/scale", scaling::scale),
        delete("/v3/processes/{process}/instances/{index}", stats::restart_instance),
        get("/v3/apps/{app}/processes", processes::list_of_app),
        get("/v3/apps/{app}/processes/{type}", processes::show_of_app),
        patch("/v3/apps/{app}/processes/{type}", processes::update_of_app),
        get("/v3/apps/{app}/processes/{type}/stats", stats::show_of_app),
        post("/v3/apps/{app}/processes/{type}/actions/scale", scaling::scale_of_app),
        delete("/v3/apps/{app}/processes/{type}/instances/{index}", stats::restart_instance_of_app),

        // From source to droplet
        post("/v3/resource_matches", resource_matches::create),
        get("/v3/packages", packages::list),
        post("/v3/packages", packages::create),
        get("/v3/packages/{package}", packages::show),
        post("/v3/packages/{package}/upload", packages::upload).up_to(upload::MAX_BYTES),
        get("/v3/packages/{package}/droplets", droplets::list_of_package),
        get("/v3/builds", builds::list),
        post("/v3/builds", builds::create),
        get("/v3/builds/{build}", builds::show),
        get("/v3/droplets", droplets::list),
        get("/v3/droplets/{droplet}", droplets::show),
        get("/v3/droplets/{droplet}/download", droplets::download),

        // Routes and domains
        get("/v3/domains", domains::list),
        get("/v3/domains/{domain}", domains::show),
        get("/v3/domains/{domain}/route_reservations", domains::reservations),
        get("/v3/routes", v3_routes::list),
        post("/v3/routes", v3_routes::create),
        get("/v3/routes/{route}", v3_routes::show),
        delete("/v3/routes/{route}", v3_routes::delete),
        get("/v3/routes/{route}/destinations", v3_routes::destinations),
        post("/v3/routes/{route}/destinations", v3_routes::add_destinations),
        delete("/v3/routes/{route}/destinations/{destination}", v3_routes::remove_destination),

        // Services
        get("/v3/service_instances", service_instances::list),
        post("/v3/service_instances", service_instances::create),
        get("/v3/service_instances/{instance}", service_instances::show),
        patch("/v3/service_instances/{instance}", service_instances::update),
        delete("/v3/service_instances/{instance}", service_instances::delete),
        get("/v3/service_instances/{instance}/credentials", service_instances::credentials),
        get("/v3/service_credential_bindings", bindings::list),
        post("/v3/service_credential_bindings", bindings::create),
        get("/v3/service_credential_bindings/{binding}", bindings::show),
        get("/v3/service_credential_bindings/{binding}/details", bindings::details),
        get("/v3/service_credential_bindings/{binding}/parameters", bindings::parameters),
        delete("/v3/service_credential_bindings/{binding}", bindings::delete),

        // The platform
        get("/v3/jobs/{job}", jobs::show),
        get("/v3/x-collection", collection::show),
        post("/v3/x-collection", collection::collect),
        get("/v3/audit_events", events::list),
        get("/v3/buildpacks", buildpacks::list),
        get("/v3/stacks", stacks::list),
        get("/v3/feature_flags", feature_flags::list),
        get("/v3/feature_flags/{name}", feature_flags::show),
        get("/v3/environment_variable_groups/{name}", environment_groups::show),
        patch("/v3/environment_variable_groups/{name}", environment_groups::update),
        get("/v3/users", users::list),
        get("/v3/roles", roles::list),
        post("/v3/roles", roles::create),
        delete("/v3/roles/{role}", roles::delete),

        // Releases under way and past
        get("/v3/deployments", deployments::list),
        post("/v3/deployments", deployments::create),
        get("/v3/deployments/{deployment}", deployments::show),
        post("/v3/deployments/{deployment}/actions/cancel", deployments::cancel),
        post("/v3/deployments/{deployment}/actions/continue", deployments::go_on),
        get("/v3/revisions/{revision}", revisions::show),
        get("/v3/revisions/{revision}/environment_variables", revisions::environment),
        // Kinds of which this platform has none
        get("/v3/isolation_segments", absent::list),
        get("/v3/organization_quotas", absent::list),
        get("/v3/security_groups", absent::list),
        get("/v3/service_brokers", absent::list),
        get("/v3/service_offerings", absent::list),
        get("/v3/service_plans", absent::list),
        get("/v3/service_route_bindings", absent::list),
        get("/v3/space_quotas", absent::list),
        get("/v3/spaces/{space}/running_security_groups", absent::list_of_space),
        get("/v3/spaces/{space}/staging_security_groups", absent::list_of_space),
    ]
}

/// The public API. `requests` owns what goes on when its client has left; give it to [`crate::serve`] too.
///
/// # Errors
/// [`KeyError`] where the control plane's token key can't be used.
pub fn api(control: Control, requests: &TaskTracker) -> Result<Router, KeyError> {
    let tokens = Arc::new(Tokens::new(
        control.token_key(),
        &control.settings().external_url,
    )?);
    let api = Api { control, tokens };
    let mut router = Router::new();
    for route in list() {
        let handler = if route.open {
            route.handler
        } else {
            route
                .handler
                .route_layer(from_fn_with_state(api.clone(), authenticate))
                // Not around what is open: strangers must not leave behind log-ins that wait for their turn.
                .route_layer(from_fn_with_state(requests.clone(), completion::carry_out))
        };
        router = router.route(route.path, handler);
    }
    // Cloud Foundry knows no "method not allowed".
    let router = router
        .fallback(unknown_request)
        .method_not_allowed_fallback(unknown_request)
        .with_state(api);
    // A layer of the router would see a request after its route was found.
    let router = router.map_request(without_trailing_slash);
    Ok(Router::new()
        .fallback_service(router)
        .layer(from_fn(context::surround)))
}

fn without_trailing_slash(mut request: Request) -> Request {
    let uri = request.uri();
    let path = uri.path().trim_end_matches('/');
    if path.len() == uri.path().len() || path.is_empty() {
        return request;
    }
    let text = uri
        .query()
        .map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    if let Ok(shorter) = text.parse::<PathAndQuery>() {
        parts.path_and_query = Some(shorter);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

impl Route {
    fn on<T: 'static>(method: Method, path: &'static str, handler: impl Handler<T, Api>) -> Self {
        let filter = MethodFilter::try_from(method.clone()).expect("one of HTTP's own methods");
        Self {
            method,
            path,
            open: false,
            handler: on(filter, handler),
        }
    }

    fn open(mut self) -> Self {
        self.open = true;
        self
    }

    fn up_to(mut self, bytes: usize) -> Self {
        self.handler = self.handler.layer(DefaultBodyLimit::max(bytes));
        self
    }
}

fn get<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route::on(Method::GET, path, handler)
}

fn post<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route::on(Method::POST, path, handler)
}

fn put<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route::on(Method::PUT, path, handler)
}

fn patch<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route::on(Method::PATCH, path, handler)
}

fn delete<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route::on(Method::DELETE, path, handler)
}

#[cfg(test)]
mod tests;
