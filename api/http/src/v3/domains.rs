//! Domains. All are shared: every organization has them.

use api_control::RouteFilter;
use api_control::records::PageRequest;
use api_types::{Domain, Page, RouteReservation};
use axum::Json;
use model::ids::{DomainId, OrgId};

use crate::error::Outcome;
use crate::present;
use crate::request::{Ask, Guid};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Domain>>> {
    let query = ask.query(&["names", "guids", "label_selector"])?;
    query.order(&["created_at"])?;
    let (names, guids) = (query.texts("names")?, query.guids("guids")?);
    let domains = if query.wants_unlabelled()? {
        ask.control
            .list_domains(&ask.actor, &names, &guids, query.page())
            .await?
    } else {
        query.part(Vec::new())
    };
    Ok(Json(query.answer(&ask.urls, domains, |domain| {
        present::domain(&ask.urls, &domain)
    })))
}

pub(crate) async fn list_of_org(ask: Ask, Guid(org): Guid<OrgId>) -> Outcome<Json<Page<Domain>>> {
    ask.control.org(&ask.actor, org).await?;
    list(ask).await
}

pub(crate) async fn default_of_org(ask: Ask, Guid(org): Guid<OrgId>) -> Outcome<Json<Domain>> {
    ask.control.org(&ask.actor, org).await?;
    let domain = ask.control.default_domain(&ask.actor).await?;
    Ok(Json(present::domain(&ask.urls, &domain)))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<DomainId>) -> Outcome<Json<Domain>> {
    let domain = ask.control.domain(&ask.actor, id).await?;
    Ok(Json(present::domain(&ask.urls, &domain)))
}

/// Whether a route with exactly this host and path is taken.
pub(crate) async fn reservations(
    ask: Ask,
    Guid(id): Guid<DomainId>,
) -> Outcome<Json<RouteReservation>> {
    let query = ask.query(&["host", "path", "port"])?;
    ask.control.domain(&ask.actor, id).await?;
    let text = |key: &str| Some(vec![query.first(key).unwrap_or_default().to_owned()]);
    let filter = RouteFilter {
        domains: vec![id],
        hosts: text("host"),
        paths: text("path"),
        ..RouteFilter::default()
    };
    let found = ask
        .control
        .list_routes(
            &ask.actor,
            &filter,
            PageRequest {
                page: 1,
                per_page: 1,
            },
        )
        .await?;
    Ok(Json(RouteReservation {
        matching_route: found.total > 0,
    }))
}
