//! Environment variables of an app.

use api_types::{AppEnvironment, EnvironmentVariables, UpdateEnvironment};
use axum::Json;
use model::ids::AppId;
use model::secret::Secret;

use crate::body::JsonBody;
use crate::error::Outcome;
use crate::present;
use crate::request::{Ask, Guid};

pub(crate) async fn all(ask: Ask, Guid(id): Guid<AppId>) -> Outcome<Json<AppEnvironment>> {
    let env = ask.control.app_env(&ask.actor, id).await?;
    Ok(Json(present::app_environment(env)))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<AppId>) -> Outcome<Json<EnvironmentVariables>> {
    let app = ask.control.app(&ask.actor, id).await?;
    Ok(Json(present::environment_variables(
        &ask.urls, id, &app.env,
    )))
}

pub(crate) async fn update(
    ask: Ask,
    Guid(id): Guid<AppId>,
    JsonBody(body): JsonBody<UpdateEnvironment>,
) -> Outcome<Json<EnvironmentVariables>> {
    let changes = body
        .var
        .into_iter()
        .map(|(name, value)| (name, value.map(Secret::into_exposed)));
    let env = ask
        .control
        .patch_env(&ask.actor, id, changes.collect())
        .await?;
    Ok(Json(present::environment_variables(&ask.urls, id, &env)))
}
