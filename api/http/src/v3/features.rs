//! Features of an app: releases are numbered for every app, and nobody can log in to an instance.

use api_types::AppFeature;
use axum::Json;
use model::ids::AppId;
use serde_json::{Value, json};

use crate::error::{ApiError, Outcome};
use crate::request::{Ask, Guid, Name};

pub(crate) async fn show(
    ask: Ask,
    Guid(app): Guid<AppId>,
    Name(name): Name,
) -> Outcome<Json<AppFeature>> {
    ask.control.app(&ask.actor, app).await?;
    let (description, enabled) = match name.as_str() {
        "revisions" => ("Every start is a numbered release of the app.", true),
        "ssh" => ("Logging in to instances over ssh.", false),
        _ => return Err(ApiError::not_found("Feature")),
    };
    Ok(Json(AppFeature {
        name,
        description: description.into(),
        enabled,
    }))
}

pub(crate) async fn ssh_enabled(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Value>> {
    ask.control.app(&ask.actor, app).await?;
    Ok(Json(
        json!({ "enabled": false, "reason": "Disabled globally" }),
    ))
}
