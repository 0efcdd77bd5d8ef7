//! The routes that a manifest asks for.

use model::ids::AppId;
use model::manifest::{AppManifest, RouteManifest};
use store::records::{App, Domain, PageRequest};
use store::{NewRoute, RouteFilter};

use crate::{Actor, Control, Error, Result, routes};

impl Control {
    pub(super) async fn apply_routes(
        &self,
        actor: &Actor,
        app: &App,
        manifest: &AppManifest,
    ) -> Result<()> {
        let filter = RouteFilter {
            apps: vec![app.id],
            ..RouteFilter::default()
        };
        let mapped = self
            .store()
            .list_routes(&filter, PageRequest::ALL)
            .await?
            .items;
        if manifest.no_route == Some(true) {
            for route in mapped {
                for destination in route
                    .destinations
                    .iter()
                    .filter(|destination| destination.app == app.id)
                {
                    self.remove_destination(actor, route.id, destination.id)
                        .await?;
                }
            }
            return Ok(());
        }
        let domains = self
            .store()
            .list_domains(&[], &[], PageRequest::ALL)
            .await?
            .items;
        if let Some(routes) = &manifest.routes {
            for route in routes {
                let (domain, host, path) =
                    split_route(route, &domains, self.settings().front_port)?;
                self.map(actor, app, &domain, host, path).await?;
            }
            return Ok(());
        }
        let wants_one = manifest.random_route == Some(true) || manifest.default_route == Some(true);
        if !wants_one || !mapped.is_empty() {
            return Ok(());
        }
        let domain = self.default_domain(actor).await?;
        let base = host_from(&app.name);
        if manifest.random_route == Some(true) {
            return self.map_random(actor, app, &domain, &base).await;
        }
        self.map(actor, app, &domain, base, String::new()).await
    }

    async fn map_random(
        &self,
        actor: &Actor,
        app: &App,
        domain: &Domain,
        base: &str,
    ) -> Result<()> {
        const TRIES: u32 = 10;
        for _ in 0..TRIES {
            let suffix = AppId::random().to_string();
            match self
                .map(
                    actor,
                    app,
                    domain,
                    format!("{base}-{}", &suffix[..8]),
                    String::new(),
                )
                .await
            {
                Err(Error::Conflict(_)) => {}
                other => return other,
            }
        }
        Err(Error::unprocessable("no free random route was found"))
    }

    /// Leads a route to the app's `web` process, making the route where it is new. A route of another space is not taken.
    async fn map(
        &self,
        actor: &Actor,
        app: &App,
        domain: &Domain,
        host: String,
        path: String,
    ) -> Result<()> {
        let filter = RouteFilter {
            domains: vec![domain.id],
            hosts: Some(vec![host.to_lowercase()]),
            paths: Some(vec![path.clone()]),
            ..RouteFilter::default()
        };
        let found = self
            .store()
            .list_routes(&filter, PageRequest::ALL)
            .await?
            .items
            .into_iter()
            .next();
        let route = match found {
            Some(route) if route.space != app.space => {
                return Err(Error::Conflict(format!(
                    "The route {} is already in use; choose another with --route or --random-route",
                    self.route_url(&route)
                )));
            }
            Some(route) => route,
            None => {
                let new = NewRoute {
                    space: app.space,
                    domain: domain.id,
                    host,
                    path,
                };
                self.create_route(actor, new).await?
            }
        };
        let leads_here = |destination: &store::records::Destination| {
            destination.app == app.id && destination.process_type == "web"
        };
        if !route.destinations.iter().any(leads_here) {
            self.add_destinations(actor, route.id, &[(app.id, "web".into())])
                .await?;
        }
        Ok(())
    }
}

/// Splits `host.domain:port/path` at the longest known domain.
fn split_route(
    route: &RouteManifest,
    domains: &[Domain],
    front_port: u16,
) -> Result<(Domain, String, String)> {
    let text = route.route.trim();
    let text = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .unwrap_or(text);
    let (name, path) = match text.find('/') {
        Some(slash) => (
            &text[..slash],
            text[slash..].trim_end_matches('/').to_owned(),
        ),
        None => (text, String::new()),
    };
    let name = match name.split_once(':') {
        None => name,
        Some((name, port)) if port == front_port.to_string() => name,
        Some((_, port)) => {
            return Err(Error::Unprocessable(format!(
                "route '{}': port {port} is not the platform's; leave the port out",
                route.route
            )));
        }
    };
    let name = name.to_lowercase();
    let mut candidates = domains.iter().filter_map(|domain| {
        let host = name.strip_suffix(&domain.name.to_lowercase())?;
        match host.strip_suffix('.') {
            Some(host) => Some((domain, host.to_owned())),
            None if host.is_empty() => Some((domain, String::new())),
            None => None,
        }
    });
    let Some((domain, host)) = candidates
        .by_ref()
        .max_by_key(|(domain, _)| domain.name.len())
    else {
        let known = domains
            .iter()
            .map(|domain| domain.name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        return Err(Error::Unprocessable(format!(
            "route '{}' ends in no domain of this platform: {known}",
            route.route
        )));
    };
    routes::check_host(&host)?;
    routes::check_path(&path)?;
    Ok((domain.clone(), host, path))
}

/// An app's name as a host: lower case, other characters become hyphens.
fn host_from(name: &str) -> String {
    let mapped = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect::<String>();
    let host = mapped
        .trim_matches('-')
        .chars()
        .take(63)
        .collect::<String>();
    if host.is_empty() {
        "app".into()
    } else {
        host.trim_end_matches('-').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use model::ids::DomainId;

    use super::*;

    fn route(text: &str) -> RouteManifest {
        RouteManifest {
            route: text.into(),
            protocol: None,
            options: serde_json::Map::new(),
        }
    }

    #[test]
    fn routes_split_at_the_longest_domain() {
        let domain = |name: &str| Domain {
            id: DomainId::random(),
            name: name.into(),
            created_us: 0,
        };
        let domains = [domain("example.com"), domain("apps.example.com")];
        for (text, want) in [
            (
                "shop.apps.example.com",
                Some(("apps.example.com", "shop", "")),
            ),
            ("a.b.example.com/x/", Some(("example.com", "a.b", "/x"))),
            (
                "http://apps.example.com:8080",
                Some(("apps.example.com", "", "")),
            ),
            ("shop.apps.example.com:9", None),
            ("shopexample.com", None),
            ("other.org", None),
        ] {
            let split = split_route(&route(text), &domains, 8080).ok();
            let split = split
                .as_ref()
                .map(|(domain, host, path)| (domain.name.as_str(), host.as_str(), path.as_str()));
            assert_eq!(split, want, "{text}");
        }
    }

    #[test]
    fn app_names_become_hosts() {
        for (name, want) in [
            ("Guest_Book 2", "guest-book-2"),
            ("--", "app"),
            ("ünïcode", "n-code"),
        ] {
            assert_eq!(host_from(name), want);
        }
    }
}
