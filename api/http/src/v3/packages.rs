//! Packages, and their upload.

use api_control::PackageFilter;
use api_types::{CreatePackage, Package, Page};
use axum::Json;
use axum::extract::Multipart;
use axum::extract::multipart::MultipartRejection;
use http::{HeaderMap, StatusCode, Uri};
use model::ids::{AppId, PackageId};

use super::metadata;
use crate::answer::created;
use crate::body::JsonBody;
use crate::error::{ApiError, Outcome};
use crate::query::Query;
use crate::request::{Ask, Guid, parsed, related};
use crate::{form, present, upload};

pub(crate) async fn list(ask: Ask) -> Outcome<Json<Page<Package>>> {
    let query = ask.query(&["guids", "app_guids", "states", "types"])?;
    let apps = query.guids("app_guids")?;
    answer(&ask, &query, apps).await
}

pub(crate) async fn list_of_app(ask: Ask, Guid(app): Guid<AppId>) -> Outcome<Json<Page<Package>>> {
    ask.control.app(&ask.actor, app).await?;
    let query = ask.query(&["guids", "states", "types"])?;
    answer(&ask, &query, vec![app]).await
}

async fn answer(ask: &Ask, query: &Query, apps: Vec<AppId>) -> Outcome<Json<Page<Package>>> {
    let filter = PackageFilter {
        guids: query.guids("guids")?,
        apps,
        states: query.texts("states")?,
        newest_first: query.newest_first()?,
    };
    let types = query.texts("types")?;
    let packages = if types.is_empty() || types.iter().any(|kind| kind == "bits") {
        ask.control
            .list_packages(&ask.actor, &filter, query.page())
            .await?
    } else {
        // All packages are bits.
        query.part(Vec::new())
    };
    Ok(Json(query.answer(&ask.urls, packages, |package| {
        present::package(&ask.urls, &package)
    })))
}

pub(crate) async fn show(ask: Ask, Guid(id): Guid<PackageId>) -> Outcome<Json<Package>> {
    let package = ask.control.package(&ask.actor, id).await?;
    Ok(Json(present::package(&ask.urls, &package)))
}

pub(crate) async fn create(
    ask: Ask,
    uri: Uri,
    JsonBody(body): JsonBody<CreatePackage>,
) -> Outcome<(StatusCode, Json<Package>)> {
    metadata::refuse(body.metadata.as_ref(), "packages")?;
    let app = related(&body.relationships.app)?;
    let pairs = form::decode(uri.query().unwrap_or_default())
        .ok_or_else(|| ApiError::bad_query("it is not UTF-8"))?;
    if let Some((_, source)) = pairs.iter().find(|(key, _)| key == "source_guid") {
        let source = parsed(source)?;
        let package = ask.control.copy_package(&ask.actor, source, app).await?;
        return Ok(created(present::package(&ask.urls, &package)));
    }
    if body.kind != "bits" {
        return Err(ApiError::unprocessable(
            "type must be 'bits'; docker packages are not supported",
        ));
    }
    let package = ask.control.create_package(&ask.actor, app).await?;
    Ok(created(present::package(&ask.urls, &package)))
}

/// The answer is `READY` at once, which spares clients their polling.
pub(crate) async fn upload(
    ask: Ask,
    Guid(id): Guid<PackageId>,
    headers: HeaderMap,
    parts: Result<Multipart, MultipartRejection>,
) -> Outcome<Json<Package>> {
    let length = upload::check_length(&headers)?;
    let parts = parts.map_err(|_| {
        ApiError::unreadable("the body must be multipart/form-data with a part 'bits'")
    })?;
    // Unknown packages are refused before a gigabyte is read for them.
    ask.control.package(&ask.actor, id).await?;
    ask.control.check_room("this upload", length).await?;
    let received = upload::receive(parts, &ask.control).await?;
    let package = ask
        .control
        .upload_package(&ask.actor, id, received.resources, received.bits)
        .await?;
    Ok(Json(present::package(&ask.urls, &package)))
}
