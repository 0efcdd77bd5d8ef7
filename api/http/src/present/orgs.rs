//! Organizations.

use api_control::records;
use api_types::Organization;

use super::time;
use crate::urls::Urls;

pub(crate) fn org(urls: &Urls, org: &records::Org) -> Organization {
    let own = format!("/v3/organizations/{}", org.id);
    Organization {
        guid: org.id.to_string(),
        created_at: time(org.created_us),
        updated_at: Some(time(org.updated_us)),
        name: org.name.clone(),
        links: urls.links([
            ("self", own.clone()),
            ("domains", format!("{own}/domains")),
            ("default_domain", format!("{own}/domains/default")),
        ]),
        ..Organization::default()
    }
}
