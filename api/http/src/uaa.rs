//! The part of UAA that clients need: prompts, the token endpoint, and the key to check tokens with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use api_control::{Actor, LoginError};
use api_types::{LoginApp, LoginInfo, TokenError, TokenResponse};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::secret::Secret;
use serde_json::{Value, json};

use crate::error::{Cause, Outcome};
use crate::request::{Api, Ask};
use crate::token::{ACCESS_LIFE, SCOPES};
use crate::urls::Urls;
use crate::{body, form};

/// Not below 4.26.0, from which on `cf auth --origin` works. The origin given there is ignored: there is one.
const UAA_VERSION: &str = "77.30.0";
const MAX_FORM_BYTES: usize = 64 * 1024;
/// `cf` compares this text.
const LOCKED: &str = "Your account has been locked because of too many failed attempts to login.";

pub(crate) async fn login(State(api): State<Api>, headers: HeaderMap) -> Json<LoginInfo> {
    let urls = Urls::of_request(&headers, api.control.settings());
    let prompt = |kind: &str, label: &str| [kind.to_owned(), label.to_owned()];
    Json(LoginInfo {
        app: LoginApp {
            version: UAA_VERSION.into(),
        },
        links: BTreeMap::from([
            ("uaa".to_owned(), urls.base().to_owned()),
            ("login".to_owned(), urls.base().to_owned()),
        ]),
        zone_name: "uaa".into(),
        entity_id: "slipway".into(),
        prompts: BTreeMap::from([
            ("username".to_owned(), prompt("text", "User")),
            ("password".to_owned(), prompt("password", "Password")),
        ]),
        ..LoginInfo::default()
    })
}

/// Users by `filter=userName eq "NAME"`, as clients ask before they make or delete one.
pub(crate) async fn users(ask: Ask) -> Outcome<Json<Value>> {
    let query = ask.any_query()?;
    let filter = query.first("filter").unwrap_or_default();
    let wanted = filter
        .split_once("eq \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(name, _)| name);
    let users = ask.control.users(&ask.actor).await?;
    let found = users
        .iter()
        .filter(|user| wanted.is_none_or(|wanted| user.username.eq_ignore_ascii_case(wanted)))
        .map(|user| json!({ "id": user.id, "userName": user.username, "origin": "uaa" }))
        .collect::<Vec<_>>();
    Ok(Json(json!({
        "totalResults": found.len(), "startIndex": 1, "itemsPerPage": 100, "resources": found,
    })))
}

pub(crate) async fn create_user(_: Ask) -> Refusal {
    Refusal::bad_request(
        "invalid_scim_resource",
        "Making users is not supported yet: there is one, the admin, who may do everything.",
    )
}

pub(crate) async fn token_key(State(api): State<Api>) -> Json<Value> {
    Json(api.tokens.public_key().clone())
}

pub(crate) async fn token_keys(State(api): State<Api>) -> Json<Value> {
    Json(json!({ "keys": [api.tokens.public_key()] }))
}

pub(crate) async fn token(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let form = Form::read(body).await?;
    check_client(&headers, &form)?;
    let actor = match form.get("grant_type") {
        Some("password") => by_password(&api, &headers, &form).await?,
        Some("refresh_token") => by_refresh_token(&api, &form).await?,
        Some(_) => {
            return Err(Refusal::bad_request(
                "unsupported_grant_type",
                "Grants are password and refresh_token.",
            ));
        }
        None => {
            return Err(Refusal::bad_request(
                "invalid_request",
                "Missing grant type",
            ));
        }
    };
    let grant = form.get("grant_type").unwrap_or_default();
    let mark = mark(&api, &actor)
        .await?
        .ok_or_else(Refusal::bad_credentials)?;
    let pair = api
        .tokens
        .issue(&actor, &mark, grant)
        .map_err(|error| Refusal::internal(Arc::new(error)))?;
    let answer = TokenResponse {
        access_token: pair.access,
        refresh_token: Some(pair.refresh),
        token_type: "bearer".into(),
        expires_in: ACCESS_LIFE - 1,
        scope: SCOPES.join(" "),
        jti: pair.jti,
    };
    let mut response = Json(answer).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn by_password(api: &Api, headers: &HeaderMap, form: &Form) -> Result<Actor, Refusal> {
    let (Some(username), Some(password)) = (form.get("username"), form.get("password")) else {
        return Err(Refusal::bad_credentials());
    };
    let password = Secret::new(password.to_owned());
    api.control
        .authenticate(username, &password, client_address(headers))
        .await
        .map_err(|error| match error {
            LoginError::Wrong { tries_left } => Refusal {
                tries_left: Some(tries_left),
                ..Refusal::bad_credentials()
            },
            LoginError::Locked { wait_s } => Refusal {
                wait_s: Some(wait_s),
                ..Refusal::unauthorized("unauthorized", LOCKED)
            },
            error @ LoginError::Internal(_) => Refusal::internal(Arc::new(error)),
        })
}

async fn by_refresh_token(api: &Api, form: &Form) -> Result<Actor, Refusal> {
    let invalid = || {
        Refusal::unauthorized(
            "invalid_token",
            "The refresh token is invalid or has expired; log in again.",
        )
    };
    let refresh = form
        .get("refresh_token")
        .and_then(|token| api.tokens.verify_refresh(token))
        .ok_or_else(invalid)?;
    let actor = match api.control.actor(refresh.user).await {
        Ok(actor) => actor.ok_or_else(invalid)?,
        Err(error) => return Err(Refusal::internal(Arc::new(error))),
    };
    if mark(api, &actor).await?.as_ref() == Some(&refresh.mark) {
        Ok(actor)
    } else {
        Err(invalid())
    }
}

/// What the actor's refresh tokens carry while the password stays the same.
async fn mark(api: &Api, actor: &Actor) -> Result<Option<String>, Refusal> {
    api.control
        .revocation_mark(actor.user)
        .await
        .map_err(|error| Refusal::internal(Arc::new(error)))
}

/// The one client is `cf`, whose secret is empty and known to all.
fn check_client(headers: &HeaderMap, form: &Form) -> Result<(), Refusal> {
    let from_header = headers.get(header::AUTHORIZATION).map(|value| {
        let encoded = value
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("Basic "));
        let decoded = encoded.and_then(|text| {
            base64::engine::general_purpose::STANDARD
                .decode(text.trim())
                .ok()
        });
        decoded.is_some_and(|client| client == b"cf:")
    });
    let from_form = || {
        form.get("client_id") == Some("cf") && form.get("client_secret").is_none_or(str::is_empty)
    };
    if from_header.unwrap_or_else(from_form) {
        Ok(())
    } else {
        Err(Refusal::unauthorized("invalid_client", "Bad credentials"))
    }
}

/// Who asks, as the router says, which knows the operator's proxies and takes the header from everybody else.
fn client_address(headers: &HeaderMap) -> Option<IpAddr> {
    let client = headers.get("x-slipway-client")?.to_str().ok()?;
    client.parse().ok()
}

struct Form(Vec<(String, String)>);

impl Form {
    async fn read(body: Body) -> Result<Self, Refusal> {
        let invalid = || Refusal::bad_request("invalid_request", "The body is not a form.");
        let bytes = body::read(body, MAX_FORM_BYTES)
            .await
            .map_err(|_| invalid())?;
        let text = std::str::from_utf8(&bytes).map_err(|_| invalid())?;
        form::decode(text).map(Self).ok_or_else(invalid)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }
}

/// UAA's own form of an error.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: &'static str,
    tries_left: Option<u32>,
    wait_s: Option<u64>,
    cause: Option<Cause>,
}

impl Refusal {
    const fn unauthorized(error: &'static str, description: &'static str) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            error,
            description,
            tries_left: None,
            wait_s: None,
            cause: None,
        }
    }

    const fn bad_request(error: &'static str, description: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            description,
            tries_left: None,
            wait_s: None,
            cause: None,
        }
    }

    /// The same for an unknown user and a wrong password.
    const fn bad_credentials() -> Self {
        Self::unauthorized("unauthorized", "Bad credentials")
    }

    fn internal(cause: Arc<dyn std::error::Error + Send + Sync>) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self {
            status,
            error: "server_error",
            description: "An unknown error occurred.",
            tries_left: None,
            wait_s: None,
            cause: Some(Cause(cause)),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = TokenError {
            error: self.error.into(),
            error_description: self.description.into(),
            tries_left: self.tries_left,
            wait_seconds: self.wait_s,
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}
