//! Roles: who may do what. The one user, the admin, has them all, everywhere; they can be neither given nor taken.

use api_control::SpaceFilter;
use api_control::records::{PageRequest, User};
use api_types::{CreateRole, Included, Page, Role};
use axum::Json;
use http::StatusCode;
use model::ids::{OrgId, SpaceId};

use crate::answer::created;
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::request::{Ask, parsed};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Role>>> {
    let query = ask.query(&[
        "guids",
        "types",
        "organization_guids",
        "space_guids",
        "user_guids",
        "include",
    ])?;
    query.newest_first()?;
    let includes = query.includes(&["user", "organization", "space"])?;
    let orgs = query.exact("organization_guids")?;
    let spaces = query.exact("space_guids")?;
    let users = ask.control.users(&ask.actor).await?;
    let mut roles = Vec::new();
    if orgs.is_some() || spaces.is_none() {
        let guids = query.guids::<OrgId>("organization_guids")?;
        let found = ask
            .control
            .list_orgs(&ask.actor, &[], &guids, PageRequest::ALL)
            .await?;
        for (org, user) in pairs(&found.items, &users) {
            roles.extend(present::org_roles(&ask.urls, user, org));
        }
    }
    if spaces.is_some() || orgs.is_none() {
        let filter = SpaceFilter {
            guids: query.guids::<SpaceId>("space_guids")?,
            ..SpaceFilter::default()
        };
        let found = ask
            .control
            .list_spaces(&ask.actor, &filter, PageRequest::ALL)
            .await?;
        for (space, user) in pairs(&found.items, &users) {
            roles.extend(present::space_roles(&ask.urls, user, space));
        }
    }
    let (guids, types) = (query.texts("guids")?, query.texts("types")?);
    let holders = query.texts("user_guids")?;
    roles.retain(|role| {
        let is_in = |wanted: &[String], what: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == what)
        };
        let user = role.relationships.user.guid().unwrap_or_default();
        is_in(&guids, &role.guid) && is_in(&types, &role.kind) && is_in(&holders, user)
    });
    let mut page = query.answer(&ask.urls, query.part(roles), |role| role);
    if includes.iter().any(|name| name == "user") {
        page.included = Some(Included {
            users: users
                .iter()
                .map(|user| present::user(&ask.urls, user))
                .collect(),
            ..Included::default()
        });
    }
    Ok(Json(page))
}

fn pairs<'a, T>(places: &'a [T], users: &'a [User]) -> impl Iterator<Item = (&'a T, &'a User)> {
    places
        .iter()
        .flat_map(move |place| users.iter().map(move |user| (place, user)))
}

/// The admin has every role already, and hears so: `cf create-space` fails where it hears "already has". Nobody else exists.
pub(crate) async fn create(
    ask: Ask,
    JsonBody(body): JsonBody<CreateRole>,
) -> Outcome<(StatusCode, Json<Role>)> {
    let wanted = &body.relationships.user.data;
    let users = ask.control.users(&ask.actor).await?;
    let user = users
        .iter()
        .find(|user| match (&wanted.guid, &wanted.username) {
            (Some(guid), _) => user.id.to_string() == *guid,
            (None, Some(name)) => user.username == *name,
            (None, None) => false,
        });
    let Some(user) = user else {
        let name = wanted.username.as_deref().or(wanted.guid.as_deref());
        return Err(ApiError::unprocessable(format!(
            "No user exists with the username '{}'. Other users than the admin are not supported yet.",
            name.unwrap_or_default()
        )));
    };
    let relationships = &body.relationships;
    let (kinds, mut roles) = match (&relationships.organization, &relationships.space) {
        (Some(org), None) => {
            let org = ask
                .control
                .org(&ask.actor, parsed(org.guid().unwrap_or_default())?)
                .await?;
            let roles = present::org_roles(&ask.urls, user, &org).collect::<Vec<_>>();
            (present::ORG_ROLES, roles)
        }
        (None, Some(space)) => {
            let space = ask
                .control
                .space(&ask.actor, parsed(space.guid().unwrap_or_default())?)
                .await?;
            let roles = present::space_roles(&ask.urls, user, &space).collect::<Vec<_>>();
            (present::SPACE_ROLES, roles)
        }
        _ => {
            let text = "Role must be associated with an organization or space.";
            return Err(ApiError::unprocessable(text));
        }
    };
    roles.retain(|role| role.kind == body.kind);
    match roles.pop() {
        Some(role) => Ok(created(role)),
        None => Err(ApiError::unprocessable(format!(
            "Type must be one of the allowed types [\"{}\"]",
            kinds.join("\", \"")
        ))),
    }
}

pub(crate) async fn delete(_: Ask) -> Outcome<Json<Role>> {
    Err(ApiError::unprocessable(
        "The admin's roles can't be taken away. Other users than the admin are not supported yet.",
    ))
}
