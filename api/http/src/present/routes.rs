//! Routes.

use api_control::records;
use api_types::{
    Destination, DestinationApp, DestinationProcess, Destinations, Route, RouteRelationships, ToOne,
};

use super::time;
use crate::urls::Urls;

/// `url` is what people type: with the front port, without a scheme.
pub(crate) fn route(urls: &Urls, route: &records::Route, url: String) -> Route {
    let own = format!("/v3/routes/{}", route.id);
    Route {
        guid: route.id.to_string(),
        created_at: time(route.created_us),
        updated_at: Some(time(route.updated_us)),
        protocol: "http".into(),
        host: route.host.clone(),
        path: route.path.clone(),
        url,
        destinations: route.destinations.iter().map(destination).collect(),
        relationships: RouteRelationships {
            space: ToOne::to(route.space.to_string()),
            domain: ToOne::to(route.domain.to_string()),
        },
        links: urls.links([
            ("self", own.clone()),
            ("space", format!("/v3/spaces/{}", route.space)),
            ("domain", format!("/v3/domains/{}", route.domain)),
            ("destinations", format!("{own}/destinations")),
        ]),
        ..Route::default()
    }
}

pub(crate) fn destinations(urls: &Urls, route: &records::Route) -> Destinations {
    let own = format!("/v3/routes/{}", route.id);
    Destinations {
        destinations: route.destinations.iter().map(destination).collect(),
        links: urls.links([("self", format!("{own}/destinations")), ("route", own)]),
    }
}

fn destination(destination: &records::Destination) -> Destination {
    Destination {
        guid: Some(destination.id.to_string()),
        app: DestinationApp {
            guid: destination.app.to_string(),
            process: Some(DestinationProcess {
                kind: destination.process_type.clone(),
            }),
        },
        weight: None,
        port: None,
        protocol: Some("http1".into()),
        created_at: None,
        updated_at: None,
    }
}
