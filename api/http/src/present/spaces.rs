//! Spaces.

use api_control::records;
use api_types::{Space, SpaceRelationships, ToOne};

use super::time;
use crate::urls::Urls;

pub(crate) fn space(urls: &Urls, space: &records::Space) -> Space {
    let own = format!("/v3/spaces/{}", space.id);
    Space {
        guid: space.id.to_string(),
        created_at: time(space.created_us),
        updated_at: Some(time(space.updated_us)),
        name: space.name.clone(),
        relationships: SpaceRelationships {
            organization: ToOne::to(space.org.to_string()),
            quota: ToOne::none(),
        },
        links: urls.links([
            ("self", own.clone()),
            ("organization", format!("/v3/organizations/{}", space.org)),
            ("apply_manifest", format!("{own}/actions/apply_manifest")),
        ]),
        ..Space::default()
    }
}
