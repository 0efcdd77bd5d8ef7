//! User-provided service instances.

use api_control::{NewServiceInstance, ServiceInstanceFilter, ServiceInstanceUpdate};
use api_types::{
    CreateServiceInstance, Credentials, Included, Page, ServiceInstance, UpdateServiceInstance,
};
use axum::Json;
use http::StatusCode;
use model::ids::ServiceInstanceId;
use model::secret::Secret;

use super::{included, metadata};
use crate::answer::created;
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::request::{Ask, Guid, related};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<ServiceInstance>>> {
    let query = ask.query(&[
        "label_selector",
        "names",
        "guids",
        "space_guids",
        "type",
        "fields",
    ])?;
    query.order(&["name"])?;
    let filter = ServiceInstanceFilter {
        labels: query.labels()?,
        names: query.texts("names")?,
        guids: query.guids("guids")?,
        spaces: query.guids("space_guids")?,
    };
    let instances = if query
        .first("type")
        .is_none_or(|kind| kind == "user-provided")
    {
        ask.control
            .list_service_instances(&ask.actor, &filter, query.page())
            .await?
    } else {
        // No service broker, no managed services.
        query.part(Vec::new())
    };
    let space_ids = instances
        .items
        .iter()
        .map(|instance| instance.space)
        .collect::<Vec<_>>();
    let mut page = query.answer(&ask.urls, instances, |instance| {
        present::service_instance(&ask.urls, &instance)
    });
    // Whatever fields of spaces and organizations are asked for, all are given.
    let (with_spaces, with_orgs) = (
        query.first("fields[space]"),
        query.first("fields[space.organization]"),
    );
    if with_spaces.or(with_orgs).is_some() {
        let (spaces, org_ids) = included::spaces(&ask, space_ids.into_iter()).await?;
        let organizations = match with_orgs {
            Some(_) => included::orgs(&ask, org_ids.into_iter()).await?,
            None => Vec::new(),
        };
        page.included = Some(Included {
            spaces,
            organizations,
            ..Included::default()
        });
    }
    Ok(Json(page))
}

pub(crate) async fn show(
    ask: Ask,
    Guid(id): Guid<ServiceInstanceId>,
) -> Outcome<Json<ServiceInstance>> {
    let instance = ask.control.service_instance(&ask.actor, id).await?;
    Ok(Json(present::service_instance(&ask.urls, &instance)))
}

/// Done at once, so without a `Location`.
pub(crate) async fn create(
    ask: Ask,
    JsonBody(body): JsonBody<CreateServiceInstance>,
) -> Outcome<(StatusCode, Json<ServiceInstance>)> {
    if body.kind != "user-provided" {
        return Err(ApiError::unprocessable(
            "type must be 'user-provided'; managed services are not supported",
        ));
    }
    let new = NewServiceInstance {
        space: related(&body.relationships.space)?,
        name: body.name,
        credentials: body.credentials.unwrap_or_default(),
        tags: body.tags.unwrap_or_default(),
        syslog_drain_url: given(body.syslog_drain_url).map(Secret::new),
        route_service_url: given(body.route_service_url),
        metadata: metadata::initial(body.metadata),
    };
    let instance = ask.control.create_service_instance(&ask.actor, new).await?;
    Ok(created(present::service_instance(&ask.urls, &instance)))
}

pub(crate) async fn update(
    ask: Ask,
    Guid(id): Guid<ServiceInstanceId>,
    JsonBody(body): JsonBody<UpdateServiceInstance>,
) -> Outcome<Json<ServiceInstance>> {
    let known = ask.control.service_instance(&ask.actor, id).await?;
    let change = ServiceInstanceUpdate {
        name: body.name,
        credentials: body.credentials,
        tags: body.tags,
        syslog_drain_url: body
            .syslog_drain_url
            .map(|url| given(Some(url)).map(Secret::new)),
        route_service_url: body.route_service_url.map(|url| given(Some(url))),
        metadata: body
            .metadata
            .map(|changes| metadata::patched(known.metadata, changes)),
    };
    let instance = ask
        .control
        .update_service_instance(&ask.actor, id, change)
        .await?;
    Ok(Json(present::service_instance(&ask.urls, &instance)))
}

pub(crate) async fn delete(ask: Ask, Guid(id): Guid<ServiceInstanceId>) -> Outcome<StatusCode> {
    ask.control.delete_service_instance(&ask.actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn credentials(
    ask: Ask,
    Guid(id): Guid<ServiceInstanceId>,
) -> Outcome<Json<Credentials>> {
    let instance = ask.control.service_instance(&ask.actor, id).await?;
    Ok(Json(instance.credentials))
}

/// An empty text takes a value back.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
