//! What handlers extract from a request: who asks, from where, and about what.

use std::str::FromStr;
use std::sync::Arc;

use api_control::{Actor, Control};
use api_types::ToOne;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use http::{HeaderMap, Uri, header};
use model::ids::{
    AppId, BindingId, BuildId, CellId, DeploymentId, DestinationId, DomainId, DropletId, JobId,
    OrgId, PackageId, ProcessId, RevisionId, RouteId, ServiceInstanceId, SpaceId, StreamId, TaskId,
};

use crate::error::{ApiError, Outcome};
use crate::query::Query;
use crate::token::Tokens;
use crate::urls::Urls;

/// What the public routes share.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) control: Control,
    pub(crate) tokens: Arc<Tokens>,
}

/// A request of somebody who is known: the way to the use cases, the actor, and where links begin.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) control: Control,
    pub(crate) actor: Actor,
    pub(crate) urls: Urls,
    uri: Uri,
}

impl Ask {
    /// The query of a list whose filters are `known`.
    pub(crate) fn query(&self, known: &[&str]) -> Outcome<Query> {
        Query::parse(&self.uri, known)
    }

    /// The query of a list that is empty whatever is asked.
    pub(crate) fn any_query(&self) -> Outcome<Query> {
        Query::of_anything(&self.uri)
    }
}

impl FromRequestParts<Api> for Ask {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Outcome<Self> {
        let Caller(actor) = parts
            .extensions
            .get::<Caller>()
            .cloned()
            .ok_or_else(ApiError::not_authenticated)?;
        let urls = Urls::of_request(&parts.headers, api.control.settings());
        Ok(Self {
            control: api.control.clone(),
            actor,
            urls,
            uri: parts.uri.clone(),
        })
    }
}

/// Set by [`authenticate`], and by nothing else.
#[derive(Debug, Clone)]
struct Caller(Actor);

/// Stands in front of every route that is not open.
pub(crate) async fn authenticate(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Response {
    match caller(&api, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

async fn caller(api: &Api, headers: &HeaderMap) -> Outcome<Caller> {
    let header = headers
        .get(header::AUTHORIZATION)
        .ok_or_else(ApiError::not_authenticated)?;
    let (scheme, token) = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(ApiError::invalid_token)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::invalid_token());
    }
    let user = api
        .tokens
        .verify_access(token.trim())
        .ok_or_else(ApiError::invalid_token)?;
    api.control
        .actor(user)
        .await?
        .map(Caller)
        .ok_or_else(ApiError::invalid_token)
}

/// The parameter of a path by its name in the list of routes.
async fn param(parts: &mut Parts, name: &str) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, &()).await.ok()?;
    params
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.to_owned())
}

/// Things that paths name by GUID.
pub(crate) trait Noun: FromStr {
    /// The parameter's name in the list of routes.
    const PARAM: &'static str;
    /// What an error calls it.
    const NAME: &'static str;
}

macro_rules! nouns {
    ($($id:ident $param:literal $name:literal)*) => {$(
        impl Noun for $id {
            const PARAM: &'static str = $param;
            const NAME: &'static str = $name;
        }
    )*};
}

nouns! {
    OrgId "org" "Organization"
    SpaceId "space" "Space"
    DomainId "domain" "Domain"
    AppId "app" "App"
    ProcessId "process" "Process"
    DeploymentId "deployment" "Deployment"
    RevisionId "revision" "Revision"
    PackageId "package" "Package"
    BuildId "build" "Build"
    DropletId "droplet" "Droplet"
    RouteId "route" "Route"
    DestinationId "destination" "Destination"
    ServiceInstanceId "instance" "Service instance"
    BindingId "binding" "Service credential binding"
    JobId "job" "Job"
    CellId "cell" "Cell"
    TaskId "task" "Task"
    StreamId "stream" "Stream"
}

/// The GUID in a path. What is no GUID is not found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guid<T>(pub(crate) T);

impl<S: Sync, T: Noun> FromRequestParts<S> for Guid<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Outcome<Self> {
        let text = param(parts, T::PARAM).await;
        text.and_then(|text| text.parse().ok())
            .map(Self)
            .ok_or_else(|| ApiError::not_found(T::NAME))
    }
}

/// `{type}` in a path.
#[derive(Debug)]
pub(crate) struct ProcessType(pub(crate) String);

/// `{index}` in a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Index(pub(crate) u32);

/// `{name}` in a path, of features and flags.
#[derive(Debug)]
pub(crate) struct Name(pub(crate) String);

impl<S: Sync> FromRequestParts<S> for ProcessType {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Outcome<Self> {
        param(parts, "type")
            .await
            .map(Self)
            .ok_or_else(|| ApiError::not_found("Process"))
    }
}

impl<S: Sync> FromRequestParts<S> for Index {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Outcome<Self> {
        let text = param(parts, "index").await;
        text.and_then(|text| text.parse().ok())
            .map(Self)
            .ok_or_else(|| ApiError::not_found("Instance"))
    }
}

impl<S: Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Outcome<Self> {
        param(parts, "name")
            .await
            .map(Self)
            .ok_or_else(ApiError::unknown_request)
    }
}

/// The resource that a body's relationship names.
pub(crate) fn related<T: Noun>(relationship: &ToOne) -> Outcome<T> {
    parsed(relationship.guid().unwrap_or_default())
}

/// The resource that a GUID in a body names.
pub(crate) fn parsed<T: Noun>(guid: &str) -> Outcome<T> {
    let name = T::NAME.to_lowercase();
    let refusal = || {
        ApiError::unprocessable(format!(
            "Invalid {name}. Ensure that the {name} exists and you have access to it."
        ))
    };
    guid.parse().map_err(|_| refusal())
}
