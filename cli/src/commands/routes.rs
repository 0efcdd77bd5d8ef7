//! Routes and domains.

use std::collections::BTreeMap;

use api_types::details::ROUTE_ALREADY_EXISTS;
use api_types::{
    App, CreateRoute as NewRoute, Destinations, Domain, InsertDestinations, NewDestination, Route,
    RouteRelationships, ToOne,
};
use serde_json::json;

use super::done;
use crate::client::{GUIDS_PER_QUERY, Query};
use crate::context::Context;
use crate::error::{CliError, Outcome};
use crate::ui::Table;

/// List the routes of the space
#[derive(Debug, clap::Args)]
pub(crate) struct Routes {}

/// List the domains of the org
#[derive(Debug, clap::Args)]
pub(crate) struct Domains {}

/// Host and path of a route under a domain.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Domain, such as localhost
    pub(crate) domain: String,
    /// Host name under the domain
    #[arg(short = 'n', long, value_name = "HOST", default_value = "")]
    pub(crate) hostname: String,
    /// Path, such as /admin
    #[arg(long, value_name = "PATH", default_value = "")]
    pub(crate) path: String,
}

/// Create a route without an app
#[derive(Debug, clap::Args)]
pub(crate) struct CreateRoute {
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Let a route lead to an app; creates the route where there is none
#[derive(Debug, clap::Args)]
pub(crate) struct MapRoute {
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Take a route away from an app
#[derive(Debug, clap::Args)]
pub(crate) struct UnmapRoute {
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Delete a route
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteRoute {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

pub(crate) async fn list(cx: &Context) -> Outcome {
    let query = Query::of("/v3/routes")
        .with("per_page", "5000")
        .with("space_guids", cx.space_guid().await?);
    let routes: Vec<Route> = cx.client.list(query).await?;
    let mut guids: Vec<_> = routes
        .iter()
        .flat_map(|route| &route.destinations)
        .map(|to| to.app.guid.as_str())
        .collect();
    guids.sort_unstable();
    guids.dedup();
    let mut names = BTreeMap::new();
    for batch in guids.chunks(GUIDS_PER_QUERY) {
        let query = Query::of("/v3/apps")
            .with("guids", batch.join(","))
            .with("per_page", "5000");
        names.extend(
            cx.client
                .list::<App>(query)
                .await?
                .into_iter()
                .map(|app| (app.guid, app.name)),
        );
    }
    let apps = |route: &Route| {
        let mut apps: Vec<_> = route
            .destinations
            .iter()
            .map(|to| names.get(&to.app.guid).unwrap_or(&to.app.guid).clone())
            .collect();
        apps.sort();
        apps.dedup();
        apps
    };
    cx.ui.answer(
        || {
            let row = |route: &Route| {
                json!({"guid": route.guid, "url": cx.route_url(route), "host": route.host, "path": route.path, "apps": apps(route)})
            };
            routes.iter().map(row).collect()
        },
        |ui| {
            if routes.is_empty() {
                ui.say("no routes yet: slipway push, or slipway map-route APP DOMAIN -n HOST");
                return Ok(());
            }
            let mut table = Table::new(&["url", "host", "path", "apps"]);
            for route in &routes {
                table.row([cx.route_url(route), route.host.clone(), route.path.clone(), apps(route).join(", ")]);
            }
            ui.data(table.render())
        },
    )
}

pub(crate) async fn domains(cx: &Context) -> Outcome {
    let org = &cx.target().await?.org;
    let domains: Vec<Domain> = cx
        .client
        .list(Query::of(format!("/v3/organizations/{}/domains", org.guid)))
        .await?;
    let shared = |domain: &Domain| domain.relationships.organization.guid().is_none();
    cx.ui.answer(
        || domains.iter().map(|domain| json!({"name": domain.name, "guid": domain.guid, "shared": shared(domain)})).collect(),
        |ui| {
            let mut table = Table::new(&["name", "availability", "protocols"]);
            for domain in &domains {
                let availability = if shared(domain) { "shared" } else { "private" };
                table.row([domain.name.clone(), availability.to_owned(), domain.supported_protocols.join(", ")]);
            }
            ui.data(table.render())
        },
    )
}

impl Place {
    /// With a leading slash, as the API has it.
    fn api_path(&self) -> String {
        let path = self.path.trim_matches('/');
        if path.is_empty() {
            String::new()
        } else {
            format!("/{path}")
        }
    }

    fn shown(&self) -> String {
        let dot = if self.hostname.is_empty() { "" } else { "." };
        format!("{}{dot}{}{}", self.hostname, self.domain, self.api_path())
    }

    /// As it is given on a command line.
    fn arguments(&self) -> String {
        let mut text = self.domain.clone();
        for (flag, value) in [("-n", self.hostname.clone()), ("--path", self.api_path())] {
            if !value.is_empty() {
                text = format!("{text} {flag} {value}");
            }
        }
        text
    }

    async fn find(&self, cx: &Context, domain: &Domain) -> Outcome<Option<Route>> {
        let query = Query::of("/v3/routes")
            .with("domain_guids", &domain.guid)
            .with("hosts", &self.hostname)
            .with("paths", self.api_path())
            .one();
        cx.client.first(query).await
    }

    async fn existing(&self, cx: &Context) -> Outcome<Route> {
        let domain = cx.client.find_domain(&self.domain).await?;
        self.find(cx, &domain).await?.ok_or_else(|| {
            CliError::not_found(format!(
                "there is no route {} in what you may see",
                self.shown()
            ))
            .hint("slipway routes")
        })
    }

    async fn create(&self, cx: &Context, domain: &Domain) -> Outcome<Route> {
        let path = self.api_path();
        let request = NewRoute {
            host: (!self.hostname.is_empty()).then(|| self.hostname.clone()),
            path: (!path.is_empty()).then_some(path),
            relationships: RouteRelationships {
                space: ToOne::to(cx.space_guid().await?),
                domain: ToOne::to(&domain.guid),
            },
            ..NewRoute::default()
        };
        cx.client.post("/v3/routes", &request).await
    }
}

impl CreateRoute {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let domain = cx.client.find_domain(&self.place.domain).await?;
        let (url, said) = match self.place.create(cx, &domain).await {
            Ok(route) => (
                cx.route_url(&route),
                format!(
                    "{} is created; slipway map-route APP {}",
                    cx.route_url(&route),
                    self.place.arguments()
                ),
            ),
            // As in `cf`, what is already so is a success.
            Err(error) if error.message.contains(ROUTE_ALREADY_EXISTS) => (
                self.place.shown(),
                format!("{} exists already", self.place.shown()),
            ),
            Err(error) => return Err(error),
        };
        done(cx, json!({"url": url}), said)
    }
}

impl MapRoute {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let domain = cx.client.find_domain(&self.place.domain).await?;
        let app = cx.app(&self.app).await?;
        let route = match self.place.find(cx, &domain).await? {
            Some(route) => route,
            None => self.place.create(cx, &domain).await?,
        };
        let url = cx.route_url(&route);
        if !route.destinations.iter().any(|to| to.app.guid == app.guid) {
            let request = InsertDestinations {
                destinations: vec![NewDestination::web(&app.guid)],
            };
            let _: Destinations = cx
                .client
                .post(&format!("/v3/routes/{}/destinations", route.guid), &request)
                .await?;
        }
        done(
            cx,
            json!({"app": app.name, "url": url}),
            format!("{url} leads to {}", app.name),
        )
    }
}

impl UnmapRoute {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let route = self.place.existing(cx).await?;
        let app = cx.app(&self.app).await?;
        let guids = route
            .destinations
            .iter()
            .filter(|to| to.app.guid == app.guid)
            .filter_map(|to| to.guid.as_deref());
        for guid in guids {
            cx.client
                .delete(&format!("/v3/routes/{}/destinations/{guid}", route.guid))
                .await?;
        }
        let url = cx.route_url(&route);
        done(
            cx,
            json!({"app": app.name, "url": url}),
            format!("{url} no longer leads to {}", app.name),
        )
    }
}

impl DeleteRoute {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let shown = self.place.shown();
        if !self.force
            && !cx
                .ui
                .confirm(&format!("Delete the route {shown}?"), "-f")
                .await?
        {
            return done(cx, json!({"deleted": null}), "nothing was deleted");
        }
        let route = self.place.existing(cx).await?;
        let answer = cx
            .client
            .delete(&format!("/v3/routes/{}", route.guid))
            .await?;
        cx.client.finish(&answer).await?;
        done(
            cx,
            json!({"deleted": cx.route_url(&route)}),
            format!("{shown} is deleted"),
        )
    }
}
