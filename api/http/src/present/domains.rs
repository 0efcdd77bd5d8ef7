//! Domains.

use api_control::records;
use api_types::Domain;

use super::time;
use crate::urls::Urls;

pub(crate) fn domain(urls: &Urls, domain: &records::Domain) -> Domain {
    let own = format!("/v3/domains/{}", domain.id);
    Domain {
        guid: domain.id.to_string(),
        created_at: time(domain.created_us),
        updated_at: Some(time(domain.created_us)),
        name: domain.name.clone(),
        supported_protocols: vec!["http".into()],
        links: urls.links([
            ("self", own.clone()),
            ("route_reservations", format!("{own}/route_reservations")),
        ]),
        ..Domain::default()
    }
}
