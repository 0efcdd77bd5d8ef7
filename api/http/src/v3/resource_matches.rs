//! Which files need no upload.

use api_types::ResourceMatches;
use axum::Json;
use http::StatusCode;

use crate::body::LongJsonBody;
use crate::error::Outcome;
use crate::request::Ask;
use crate::{present, upload};

pub(crate) async fn create(
    ask: Ask,
    LongJsonBody(body): LongJsonBody<ResourceMatches>,
) -> Outcome<(StatusCode, Json<ResourceMatches>)> {
    let wanted = body
        .resources
        .into_iter()
        .map(upload::resource)
        .collect::<Outcome<Vec<_>>>()?;
    let matched = ask.control.resource_matches(&ask.actor, wanted).await?;
    let resources = matched.into_iter().map(present::resource_match).collect();
    Ok((StatusCode::CREATED, Json(ResourceMatches { resources })))
}
