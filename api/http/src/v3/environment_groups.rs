//! Environment variable groups: what every instance, or every build, gets.

use api_control::records::EnvironmentGroup;
use api_types::{EnvironmentVariables, UpdateEnvironment};
use axum::Json;
use model::secret::Secret;

use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::request::{Ask, Name};

pub(crate) async fn show(ask: Ask, Name(name): Name) -> Outcome<Json<EnvironmentVariables>> {
    let group = group(&name)?;
    let env = ask.control.environment_group(&ask.actor, group).await?;
    Ok(Json(present::environment_group(&ask.urls, group, &env)))
}

pub(crate) async fn update(
    ask: Ask,
    Name(name): Name,
    JsonBody(body): JsonBody<UpdateEnvironment>,
) -> Outcome<Json<EnvironmentVariables>> {
    let group = group(&name)?;
    let changes = body
        .var
        .into_iter()
        .map(|(name, value)| (name, value.map(Secret::into_exposed)));
    let env = ask
        .control
        .patch_environment_group(&ask.actor, group, changes.collect())
        .await?;
    Ok(Json(present::environment_group(&ask.urls, group, &env)))
}

fn group(name: &str) -> Outcome<EnvironmentGroup> {
    match name {
        "running" => Ok(EnvironmentGroup::Running),
        "staging" => Ok(EnvironmentGroup::Staging),
        _ => Err(ApiError::not_found("Environment variable group")),
    }
}
