//! UAA's prompts and tokens.

use std::collections::BTreeMap;

use model::secret::Secret;
use serde::{Deserialize, Serialize};

/// `GET {login}/login` with `Accept: application/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LoginInfo {
    #[serde(default)]
    pub app: LoginApp,
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    #[serde(default)]
    pub zone_name: String,
    #[serde(default)]
    pub entity_id: String,
    #[serde(default)]
    pub commit_id: String,
    #[serde(default)]
    pub timestamp: String,
    /// Name → type (`text`, `password`) and label.
    #[serde(default)]
    pub prompts: BTreeMap<String, [String; 2]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LoginApp {
    #[serde(default)]
    pub version: String,
}

/// Form body of `POST {login}/oauth/token`. What a grant does not need is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenRequest {
    /// `password`, `refresh_token` or `client_credentials`.
    pub grant_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenResponse {
    pub access_token: Secret<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Secret<String>>,
    /// Lower-case `bearer`: with `Bearer` the `cf` command refreshes before every call.
    #[serde(default = "bearer")]
    pub token_type: String,
    /// Seconds.
    #[serde(default)]
    pub expires_in: u64,
    #[serde(default)]
    pub scope: String,
    #[serde(default)]
    pub jti: String,
}

fn bearer() -> String {
    "bearer".into()
}

/// Claims of an access token. A token with `user_name` must have `user_id` and `origin`: `cf` crashes without.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claims {
    pub jti: String,
    pub sub: String,
    pub iss: String,
    #[serde(default)]
    pub aud: Vec<String>,
    pub client_id: String,
    /// The same as `client_id`; UAA has both.
    #[serde(default)]
    pub cid: String,
    #[serde(default)]
    pub azp: String,
    #[serde(default)]
    pub grant_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default)]
    pub scope: Vec<String>,
    /// Seconds since the Unix epoch.
    pub iat: i64,
    /// Seconds since the Unix epoch.
    pub exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocable: Option<bool>,
}
