//! Apps.

use api_control::records;
use api_types::{App, AppRelationships, AppState, CurrentDroplet, Lifecycle, Link, Ref, ToOne};

use super::{metadata, time};
use crate::urls::Urls;

pub(crate) fn app(urls: &Urls, app: &records::App) -> App {
    let own = format!("/v3/apps/{}", app.id);
    let mut links = urls.links([
        ("self", own.clone()),
        (
            "environment_variables",
            format!("{own}/environment_variables"),
        ),
        ("space", format!("/v3/spaces/{}", app.space)),
        ("processes", format!("{own}/processes")),
        ("packages", format!("{own}/packages")),
        ("current_droplet", format!("{own}/droplets/current")),
        ("droplets", format!("{own}/droplets")),
        ("revisions", format!("{own}/revisions")),
        ("deployed_revisions", format!("{own}/revisions/deployed")),
        ("tasks", format!("{own}/tasks")),
        ("features", format!("{own}/features")),
    ]);
    for action in ["start", "stop"] {
        links.insert(
            action.into(),
            Link::post(urls.to(&format!("{own}/actions/{action}"))),
        );
    }
    App {
        guid: app.id.to_string(),
        created_at: time(app.created_us),
        updated_at: Some(time(app.updated_us)),
        name: app.name.clone(),
        state: match app.state {
            records::AppState::Started => AppState::Started,
            records::AppState::Stopped => AppState::Stopped,
        },
        lifecycle: Lifecycle::buildpack(app.buildpacks.clone(), app.stack.clone()),
        relationships: AppRelationships {
            space: ToOne::to(app.space.to_string()),
            current_droplet: ToOne {
                data: app
                    .current_droplet
                    .map(|droplet| Ref::new(droplet.to_string())),
            },
        },
        metadata: metadata(&app.metadata),
        links,
    }
}

pub(crate) fn current_droplet(urls: &Urls, droplet: &records::Droplet) -> CurrentDroplet {
    CurrentDroplet {
        data: Some(Ref::new(droplet.id.to_string())),
        links: urls.links([
            (
                "self",
                format!("/v3/apps/{}/relationships/current_droplet", droplet.app),
            ),
            (
                "related",
                format!("/v3/apps/{}/droplets/current", droplet.app),
            ),
        ]),
    }
}
