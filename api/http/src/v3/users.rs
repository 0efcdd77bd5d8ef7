//! Users. There is one so far, the admin, who may do everything.

use api_types::{Page, User};
use axum::Json;

use crate::error::Outcome;
use crate::present;
use crate::request::Ask;

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<User>>> {
    let query = ask.query(&[
        "guids",
        "usernames",
        "partial_usernames",
        "origins",
        "label_selector",
    ])?;
    query.newest_first()?;
    let (guids, names) = (query.texts("guids")?, query.exact("usernames")?);
    let (parts, origins) = (query.texts("partial_usernames")?, query.texts("origins")?);
    let is_asked = |user: &User| {
        let name = user.username.as_deref().unwrap_or_default();
        let is_named = |wanted: &Vec<String>| wanted.iter().any(|wanted| wanted == name);
        (guids.is_empty() || guids.contains(&user.guid))
            && names.as_ref().is_none_or(is_named)
            && (parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str())))
            && (origins.is_empty() || origins.iter().any(|origin| origin == "uaa"))
    };
    let users = ask.control.users(&ask.actor).await?;
    let users = users.iter().map(|user| present::user(&ask.urls, user));
    let users = users.filter(is_asked).collect();
    Ok(Json(
        query.answer(&ask.urls, query.part(users), |user| user),
    ))
}
