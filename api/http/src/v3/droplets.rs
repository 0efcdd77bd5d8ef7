//! Droplets, and which one an app runs.

use api_control::DropletFilter;
use api_control::records::PageRequest;
use api_types::{CurrentDroplet, Droplet, Page, ToOne};
use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header;
use model::ids::{AppId, DropletId, PackageId};

use crate::body::JsonBody;
use crate::error::Outcome;
use crate::present;
use crate::query::Query;
use crate::request::{Ask, Guid, related};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Droplet>>> {
    let query = ask.query(&["guids", "app_guids", "states"])?;
    let filter = DropletFilter {
        apps: query.guids("app_guids")?,
        ..DropletFilter::default()
    };
    answer(&ask, &query, filter).await
}

pub(crate) async fn list_of_app(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Page<Droplet>>> {
    ask.control.app(&ask.actor, app).await?;
    let query = ask.query(&["guids", "states", "current"])?;
    let mut filter = DropletFilter {
        apps: vec![app],
        ..DropletFilter::default()
    };
    if query.first("current") == Some("true") {
        let current = ask.control.app(&ask.actor, app).await?.current_droplet;
        let Some(current) = current else {
            return Ok(Json(query.answer(
                &ask.urls,
                query.part(Vec::new()),
                |none| none,
            )));
        };
        filter.guids = vec![current];
        let droplets = ask
            .control
            .list_droplets(
                &ask.actor,
                &filter,
                PageRequest {
                    page: 1,
                    per_page: 1,
                },
            )
            .await?;
        return Ok(Json(query.answer(&ask.urls, droplets, |droplet| {
            present::droplet_in_list(&ask.urls, &droplet)
        })));
    }
    answer(&ask, &query, filter).await
}

pub(crate) async fn list_of_package(
    ask: Ask,
    Guid(package): Guid<PackageId>,
) -> Outcome<Json<Page<Droplet>>> {
    ask.control.package(&ask.actor, package).await?;
    let query = ask.query(&["guids", "states"])?;
    let filter = DropletFilter {
        packages: vec![package],
        ..DropletFilter::default()
    };
    answer(&ask, &query, filter).await
}

async fn answer(ask: &Ask, query: &Query, filter: DropletFilter) -> Outcome<Json<Page<Droplet>>> {
    let filter = DropletFilter {
        guids: query.guids("guids")?,
        newest_first: query.newest_first()?,
        ..filter
    };
    let states = query.texts("states")?;
    let droplets = if states.is_empty() || states.iter().any(|state| state == "STAGED") {
        ask.control
            .list_droplets(&ask.actor, &filter, query.page())
            .await?
    } else {
        // A droplet exists once it is staged, and not before.
        query.part(Vec::new())
    };
    Ok(Json(query.answer(&ask.urls, droplets, |droplet| {
        present::droplet_in_list(&ask.urls, &droplet)
    })))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<DropletId>) -> Outcome<Json<Droplet>> {
    let droplet = ask.control.droplet(&ask.actor, id).await?;
    Ok(Json(present::droplet(&ask.urls, &droplet)))
}

/// Its layers as one gzipped tar.
pub(crate) async fn download(ask: Ask, Guid(id): Guid<DropletId>) -> Outcome<Response> {
    let archive = ask.control.download_droplet(&ask.actor, id).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/gzip".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"droplet_{id}.tgz\""),
        ),
    ];
    Ok((headers, Body::from_stream(archive)).into_response())
}

/// "Droplet not found" of an app that has none is what clients expect.
pub(crate) async fn current(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Droplet>> {
    let droplet = ask.control.current_droplet(&ask.actor, app).await?;
    Ok(Json(present::droplet(&ask.urls, &droplet)))
}

pub(crate) async fn current_relationship(
    ask: Ask,
    Guid(app): Guid<AppId>,
) -> Outcome<Json<CurrentDroplet>> {
    let droplet = ask.control.current_droplet(&ask.actor, app).await?;
    Ok(Json(present::current_droplet(&ask.urls, &droplet)))
}

pub(crate) async fn set_current(
    ask: Ask,
    Guid(app): Guid<AppId>,
    JsonBody(body): JsonBody<ToOne>,
) -> Outcome<Json<CurrentDroplet>> {
    let droplet = ask
        .control
        .set_current_droplet(&ask.actor, app, related(&body)?)
        .await?;
    Ok(Json(present::current_droplet(&ask.urls, &droplet)))
}
