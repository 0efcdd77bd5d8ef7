//! Routes and their destinations.

use api_control::{NewRoute, RouteFilter, records};
use api_types::{CreateRoute, Destinations, InsertDestinations, NewDestination, Page, Route};
use axum::Json;
use http::StatusCode;
use model::ids::{AppId, DestinationId, RouteId, SpaceId};

use super::metadata;
use crate::answer::{Accepted, created};
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::query::Query;
use crate::request::{Ask, Guid, parsed, related};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Route>>> {
    let filters = [
        "guids",
        "app_guids",
        "space_guids",
        "organization_guids",
        "domain_guids",
        "hosts",
        "paths",
        "ports",
        "label_selector",
    ];
    let query = ask.query(&filters)?;
    let apps = query.guids("app_guids")?;
    answer(&ask, &query, apps).await
}

pub(crate) async fn list_of_app(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Page<Route>>> {
    ask.control.app(&ask.actor, app).await?;
    let query = ask.query(&[
        "guids",
        "space_guids",
        "organization_guids",
        "domain_guids",
        "hosts",
        "paths",
        "ports",
        "label_selector",
    ])?;
    answer(&ask, &query, vec![app]).await
}

async fn answer(ask: &Ask, query: &Query, apps: Vec<AppId>) -> Outcome<Json<Page<Route>>> {
    query.order(&["created_at"])?;
    let filter = RouteFilter {
        guids: query.guids("guids")?,
        spaces: query.guids("space_guids")?,
        orgs: query.guids("organization_guids")?,
        domains: query.guids("domain_guids")?,
        // For these two an empty value means exactly that.
        hosts: query.exact("hosts")?,
        paths: query.exact("paths")?,
        apps,
    };
    let unlabelled = query.wants_unlabelled()?;
    let routes = if unlabelled && query.texts("ports")?.iter().all(String::is_empty) {
        ask.control
            .list_routes(&ask.actor, &filter, query.page())
            .await?
    } else {
        // Only TCP routes have ports, and there are none.
        query.part(Vec::new())
    };
    Ok(Json(
        query.answer(&ask.urls, routes, |route| shown(ask, &route)),
    ))
}

fn shown(ask: &Ask, route: &records::Route) -> Route {
    present::route(&ask.urls, route, ask.control.route_url(route))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<RouteId>) -> Outcome<Json<Route>> {
    let route = ask.control.route(&ask.actor, id).await?;
    Ok(Json(shown(&ask, &route)))
}

pub(crate) async fn create(
    ask: Ask,
    JsonBody(body): JsonBody<CreateRoute>,
) -> Outcome<(StatusCode, Json<Route>)> {
    if body.port.is_some() {
        return Err(ApiError::unprocessable(
            "Routes with protocol 'http' do not support ports; TCP routes are not supported",
        ));
    }
    if body.options.is_some_and(|options| !options.is_empty()) {
        return Err(ApiError::unprocessable(
            "options of routes are not supported",
        ));
    }
    metadata::refuse(body.metadata.as_ref(), "routes")?;
    let new = NewRoute {
        space: related(&body.relationships.space)?,
        domain: related(&body.relationships.domain)?,
        host: body.host.unwrap_or_default(),
        path: body.path.unwrap_or_default(),
    };
    let route = ask.control.create_route(&ask.actor, new).await?;
    Ok(created(shown(&ask, &route)))
}

pub(crate) async fn delete(ask: Ask, Guid(id): Guid<RouteId>) -> Outcome<Accepted> {
    let job = ask.control.delete_route(&ask.actor, id).await?;
    Ok(Accepted::job(&ask.urls, &job))
}

/// `DELETE /v3/spaces/G/routes?unmapped=true`; all of a space's routes at once can't be deleted.
pub(crate) async fn delete_unmapped(ask: Ask, Guid(space): Guid<SpaceId>) -> Outcome<Accepted> {
    let query = ask.query(&["unmapped"])?;
    if query.first("unmapped") != Some("true") {
        return Err(ApiError::unprocessable(
            "Mass delete not supported for mapped routes. Use 'unmapped=true' parameter to delete all unmapped routes.",
        ));
    }
    ask.control.space(&ask.actor, space).await?;
    let job = ask
        .control
        .delete_unmapped_routes(&ask.actor, space)
        .await?;
    Ok(Accepted::job(&ask.urls, &job))
}

pub(crate) async fn destinations(ask: Ask, Guid(id): Guid<RouteId>) -> Outcome<Json<Destinations>> {
    let route = ask.control.route(&ask.actor, id).await?;
    Ok(Json(present::destinations(&ask.urls, &route)))
}

pub(crate) async fn add_destinations(
    ask: Ask,
    Guid(id): Guid<RouteId>,
    JsonBody(body): JsonBody<InsertDestinations>,
) -> Outcome<Json<Destinations>> {
    let targets = body
        .destinations
        .into_iter()
        .map(target)
        .collect::<Outcome<Vec<_>>>()?;
    let route = ask
        .control
        .add_destinations(&ask.actor, id, &targets)
        .await?;
    Ok(Json(present::destinations(&ask.urls, &route)))
}

fn target(destination: NewDestination) -> Outcome<(AppId, String)> {
    if destination.port.is_some() {
        return Err(ApiError::unprocessable(
            "ports of destinations are not supported; an app listens on $PORT",
        ));
    }
    if destination
        .protocol
        .is_some_and(|protocol| protocol != "http1")
    {
        return Err(ApiError::unprocessable(
            "protocol of a destination must be 'http1'",
        ));
    }
    let process_type = destination
        .app
        .process
        .map_or_else(|| "web".to_owned(), |process| process.kind);
    Ok((parsed(&destination.app.guid)?, process_type))
}

pub(crate) async fn remove_destination(
    ask: Ask,
    Guid(id): Guid<RouteId>,
    Guid(destination): Guid<DestinationId>,
) -> Outcome<StatusCode> {
    ask.control
        .remove_destination(&ask.actor, id, destination)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
