//! Bindings of service instances to apps.

use api_control::BindingFilter;
use api_types::{
    CreateCredentialBinding, CredentialBinding, CredentialBindingDetails, Included, Page,
};
use axum::Json;
use http::StatusCode;
use model::ids::BindingId;
use serde_json::{Value, json};

use super::{included, metadata};
use crate::answer::created;
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::request::{Ask, Guid, related};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<CredentialBinding>>> {
    let known = [
        "names",
        "guids",
        "app_guids",
        "service_instance_guids",
        "app_names",
        "service_instance_names",
        "type",
        "include",
    ];
    let query = ask.query(&known)?;
    query.order(&["created_at"])?;
    let includes = query.includes(&["app", "service_instance"])?;
    for unsupported in ["app_names", "service_instance_names"] {
        if query.first(unsupported).is_some() {
            return Err(ApiError::bad_query(format!(
                "'{unsupported}' is not supported here; ask by guid"
            )));
        }
    }
    let filter = BindingFilter {
        guids: query.guids("guids")?,
        apps: query.guids("app_guids")?,
        service_instances: query.guids("service_instance_guids")?,
        names: query.texts("names")?,
    };
    let kinds = query.texts("type")?;
    let bindings = if kinds.is_empty() || kinds.iter().any(|kind| kind == "app") {
        ask.control
            .list_bindings(&ask.actor, &filter, query.page())
            .await?
    } else {
        // There are no service keys.
        query.part(Vec::new())
    };
    let apps = bindings
        .items
        .iter()
        .map(|binding| binding.app)
        .collect::<Vec<_>>();
    let instances = bindings
        .items
        .iter()
        .map(|binding| binding.service_instance)
        .collect::<Vec<_>>();
    let mut page = query.answer(&ask.urls, bindings, |binding| {
        present::binding(&ask.urls, &binding)
    });
    if !includes.is_empty() {
        let mut found = Included::default();
        if includes.iter().any(|name| name == "app") {
            found.apps = included::apps(&ask, apps.into_iter()).await?;
        }
        if includes.iter().any(|name| name == "service_instance") {
            found.service_instances =
                included::service_instances(&ask, instances.into_iter()).await?;
        }
        page.included = Some(found);
    }
    Ok(Json(page))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<BindingId>) -> Outcome<Json<CredentialBinding>> {
    let binding = ask.control.binding(&ask.actor, id).await?;
    Ok(Json(present::binding(&ask.urls, &binding)))
}

/// Done at once, so without a `Location`.
pub(crate) async fn create(
    ask: Ask,
    JsonBody(body): JsonBody<CreateCredentialBinding>,
) -> Outcome<(StatusCode, Json<CredentialBinding>)> {
    check(&body)?;
    let app = related(&body.relationships.app.unwrap_or_default())?;
    let instance = related(&body.relationships.service_instance)?;
    let binding = ask
        .control
        .create_binding(&ask.actor, app, instance, body.name)
        .await?;
    Ok(created(present::binding(&ask.urls, &binding)))
}

fn check(body: &CreateCredentialBinding) -> Outcome<()> {
    if body.kind != "app" {
        return Err(ApiError::unprocessable(
            "type must be 'app'; service keys are not supported",
        ));
    }
    if body
        .parameters
        .as_ref()
        .is_some_and(|parameters| !parameters.expose().is_empty())
    {
        return Err(ApiError::unprocessable(
            "Binding parameters are not supported for user-provided service instances",
        ));
    }
    if body
        .strategy
        .as_deref()
        .is_some_and(|strategy| strategy != "single")
    {
        return Err(ApiError::unprocessable(
            "strategy must be 'single'; an app is bound to a service instance once",
        ));
    }
    metadata::refuse(body.metadata.as_ref(), "service credential bindings")
}

pub(crate) async fn details(
    ask: Ask,
    Guid(id): Guid<BindingId>,
) -> Outcome<Json<CredentialBindingDetails>> {
    let binding = ask.control.binding(&ask.actor, id).await?;
    let instance = ask
        .control
        .service_instance(&ask.actor, binding.service_instance)
        .await?;
    Ok(Json(present::binding_details(instance)))
}

/// A binding of a user-provided service has no parameters.
pub(crate) async fn parameters(ask: Ask, Guid(id): Guid<BindingId>) -> Outcome<Json<Value>> {
    ask.control.binding(&ask.actor, id).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn delete(ask: Ask, Guid(id): Guid<BindingId>) -> Outcome<StatusCode> {
    ask.control.delete_binding(&ask.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
