//! The answer of every call that did not succeed.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Errors {
    #[serde(default)]
    pub errors: Vec<ErrorEntry>,
}

/// `cf` prints `detail` and keys on its exact text; see [`crate::details`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// Cloud Foundry's number, for example 10008.
    #[serde(default)]
    pub code: u32,
    /// Cloud Foundry's name, for example `CF-UnprocessableEntity`.
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub detail: String,
}

impl Errors {
    pub fn one(code: u32, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            errors: vec![ErrorEntry {
                code,
                title: title.into(),
                detail: detail.into(),
            }],
        }
    }
}

/// What the token endpoint answers instead of [`Errors`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenError {
    /// `unauthorized`, `invalid_client`, `invalid_token`, `unsupported_grant_type`, …
    pub error: String,
    #[serde(default)]
    pub error_description: String,
    /// Slipway's own: wrong passwords that are left before a wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u32>,
    /// Slipway's own: seconds until the next password is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u64>,
}
