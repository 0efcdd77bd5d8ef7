//! Users and what they may do.

use api_control::records;
use api_types::{Role, RoleRelationships, ToOne, User};
use uuid::Uuid;

use super::time;
use crate::urls::Urls;

pub(crate) const ORG_ROLES: &[&str] = &[
    "organization_user",
    "organization_manager",
    "organization_auditor",
    "organization_billing_manager",
];
pub(crate) const SPACE_ROLES: &[&str] = &[
    "space_manager",
    "space_developer",
    "space_auditor",
    "space_supporter",
];

pub(crate) fn user(urls: &Urls, user: &records::User) -> User {
    User {
        guid: user.id.to_string(),
        created_at: time(user.created_us),
        updated_at: Some(time(user.created_us)),
        username: Some(user.username.clone()),
        presentation_name: user.username.clone(),
        origin: Some("uaa".into()),
        links: urls.links([("self", format!("/v3/users/{}", user.id))]),
        ..User::default()
    }
}

pub(crate) fn org_roles(
    urls: &Urls,
    user: &records::User,
    org: &records::Org,
) -> impl Iterator<Item = Role> + use<> {
    let relationships = RoleRelationships {
        user: ToOne::to(user.id.to_string()),
        organization: ToOne::to(org.id.to_string()),
        space: ToOne::none(),
    };
    let (of, place) = (user.id.as_uuid(), org.id.as_uuid());
    let since = org.created_us.max(user.created_us);
    roles(urls.clone(), ORG_ROLES, (of, place), since, relationships)
}

pub(crate) fn space_roles(
    urls: &Urls,
    user: &records::User,
    space: &records::Space,
) -> impl Iterator<Item = Role> + use<> {
    let relationships = RoleRelationships {
        user: ToOne::to(user.id.to_string()),
        organization: ToOne::none(),
        space: ToOne::to(space.id.to_string()),
    };
    let (of, place) = (user.id.as_uuid(), space.id.as_uuid());
    let since = space.created_us.max(user.created_us);
    roles(urls.clone(), SPACE_ROLES, (of, place), since, relationships)
}

/// Nothing is stored of a role; its GUID follows from whose it is, where, and which one.
fn roles(
    urls: Urls,
    kinds: &'static [&'static str],
    (user, place): (Uuid, Uuid),
    since_us: i64,
    relationships: RoleRelationships,
) -> impl Iterator<Item = Role> {
    (1_u128..).zip(kinds).map(move |(number, kind)| {
        let guid = Uuid::from_u128(user.as_u128() ^ place.as_u128().rotate_left(1) ^ number);
        Role {
            guid: guid.to_string(),
            created_at: time(since_us),
            updated_at: Some(time(since_us)),
            kind: (*kind).to_owned(),
            relationships: relationships.clone(),
            links: urls.links([("self", format!("/v3/roles/{guid}"))]),
        }
    })
}
