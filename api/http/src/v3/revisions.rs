//! Revisions of an app.

use api_control::records;
use api_types::{EnvironmentVariables, Page, Revision};
use axum::Json;
use model::ids::{AppId, RevisionId};

use crate::error::Outcome;
use crate::present;
use crate::request::{Ask, Guid};

pub(crate) async fn list(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Page<Revision>>> {
    let query = ask.query(&["versions"])?;
    query.order(&["-created_at"])?;
    let wanted = query.texts("versions")?;
    let versions = wanted
        .iter()
        .filter_map(|version| version.parse().ok())
        .collect::<Vec<_>>();
    let revisions = if versions.is_empty() && !wanted.is_empty() {
        ask.control.app(&ask.actor, app).await?;
        records::Page {
            items: Vec::new(),
            total: 0,
        }
    } else {
        ask.control
            .list_revisions(&ask.actor, app, &versions, query.page())
            .await?
    };
    Ok(Json(query.answer(&ask.urls, revisions, |revision| {
        present::revision(&ask.urls, revision)
    })))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<RevisionId>) -> Outcome<Json<Revision>> {
    let revision = ask.control.revision(&ask.actor, id).await?;
    Ok(Json(present::revision(&ask.urls, revision)))
}

pub(crate) async fn environment(
    ask: Ask,
    Guid(id): Guid<RevisionId>,
) -> Outcome<Json<EnvironmentVariables>> {
    let (revision, env) = ask.control.revision_env(&ask.actor, id).await?;
    Ok(Json(present::revision_environment(
        &ask.urls, &revision, &env,
    )))
}

pub(crate) async fn deployed(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Page<Revision>>> {
    let query = ask.query(&[])?;
    let revisions = ask.control.deployed_revisions(&ask.actor, app).await?;
    Ok(Json(query.answer(
        &ask.urls,
        query.part(revisions),
        |revision| present::revision(&ask.urls, revision),
    )))
}
