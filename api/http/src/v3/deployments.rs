//! Deployments.

use api_control::{DeploymentFilter, DeploymentWish, Error, How, Scale};
use api_types::{CreateDeployment, Deployment, DeploymentOptions, Page};
use axum::Json;
use http::StatusCode;
use model::deployment::{Canary, Strategy};
use model::ids::DeploymentId;
use model::limits::Megabytes;

use super::metadata;
use crate::answer::created;
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::present;
use crate::request::{Ask, Guid, parsed, related};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Deployment>>> {
    let query = ask.query(&["app_guids", "status_values", "status_reasons", "states"])?;
    let newest_first = query.order(&["created_at", "-created_at"])? == Some("-created_at");
    let statuses = query.texts("status_values")?;
    let filter = DeploymentFilter {
        apps: query.guids("app_guids")?,
        active: !statuses.is_empty() && statuses.iter().all(|status| status == "ACTIVE"),
        newest_first,
        ..DeploymentFilter::default()
    };
    let deployments = ask
        .control
        .list_deployments(&ask.actor, &filter, query.page())
        .await?;
    Ok(Json(query.answer(&ask.urls, deployments, |deployment| {
        present::deployment(&ask.urls, &deployment)
    })))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<DeploymentId>) -> Outcome<Json<Deployment>> {
    let deployment = ask.control.deployment(&ask.actor, id).await?;
    Ok(Json(present::deployment(&ask.urls, &deployment)))
}

pub(crate) async fn create(
    ask: Ask,
    JsonBody(body): JsonBody<CreateDeployment>,
) -> Outcome<(StatusCode, Json<Deployment>)> {
    metadata::refuse(body.metadata.as_ref(), "deployments")?;
    let how = how(body.strategy.as_deref(), body.options.as_ref())?;
    let app = related(&body.relationships.app)?;
    let wish = match (body.revision, body.droplet) {
        (Some(_), Some(_)) => {
            let text = "Cannot set both fields 'droplet' and 'revision'";
            return Err(Error::Unprocessable(text.into()).into());
        }
        (Some(revision), None) => DeploymentWish::Release(parsed(&revision.guid)?),
        (None, droplet) => DeploymentWish::Droplet {
            droplet: droplet.map(|droplet| parsed(&droplet.guid)).transpose()?,
            web: web(body.options.as_ref())?,
        },
    };
    let deployment = ask
        .control
        .create_deployment(&ask.actor, app, wish, how)
        .await?;
    Ok(created(present::deployment(&ask.urls, &deployment)))
}

pub(crate) async fn go_on(ask: Ask, Guid(id): Guid<DeploymentId>) -> Outcome<Json<Deployment>> {
    let deployment = ask.control.continue_deployment(&ask.actor, id).await?;
    Ok(Json(present::deployment(&ask.urls, &deployment)))
}

pub(crate) async fn cancel(ask: Ask, Guid(id): Guid<DeploymentId>) -> Outcome<Json<Deployment>> {
    let deployment = ask.control.cancel_deployment(&ask.actor, id).await?;
    Ok(Json(present::deployment(&ask.urls, &deployment)))
}

fn how(strategy: Option<&str>, options: Option<&DeploymentOptions>) -> Outcome<How> {
    let steps = options.and_then(|options| options.canary.as_ref());
    let strategy = match (strategy, steps) {
        (None | Some("rolling"), None) => Strategy::Rolling,
        (None | Some("rolling"), Some(_)) => {
            let text = "Canary options are only valid for Canary deployments";
            return Err(ApiError::unprocessable(text));
        }
        (Some("canary"), steps) => {
            let steps = steps.into_iter().flat_map(|canary| &canary.steps);
            let weights = steps.map(|step| step.instance_weight).collect();
            let canary = Canary::new(weights).map_err(|bad| {
                ApiError::unprocessable(format!("Options canary steps are invalid: {bad}"))
            })?;
            Strategy::Canary(canary)
        }
        (Some(_), _) => {
            let text = "Strategy must be 'rolling' or 'canary'";
            return Err(ApiError::unprocessable(text));
        }
    };
    Ok(How {
        strategy,
        max_in_flight: options
            .and_then(|options| options.max_in_flight)
            .unwrap_or(1),
    })
}

fn web(options: Option<&DeploymentOptions>) -> Outcome<Scale> {
    Ok(Scale {
        instances: options.and_then(|options| options.web_instances),
        memory: options
            .and_then(|options| options.memory_in_mb)
            .map(Megabytes),
        disk: options
            .and_then(|options| options.disk_in_mb)
            .map(Megabytes),
        log_rate: super::scaling::log_rate(
            options.and_then(|options| options.log_rate_limit_in_bytes_per_second),
        )?,
    })
}
