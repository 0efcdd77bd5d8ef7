//! Every environment variable that the client reads, but for the folders of [`crate::config`].

use std::env;

use model::secret::Secret;

#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `SLIPWAY_API`: wins over the stored API.
    pub(crate) api: Option<String>,
    /// `SLIPWAY_TOKEN`: an access token; never stored, never renewed.
    pub(crate) token: Option<Secret<String>>,
    /// `SLIPWAY_USERNAME` and `SLIPWAY_PASSWORD`: for `login`, and for commands whose stored login is none, or has ended.
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret<String>>,
    /// `SLIPWAY_ORG` and `SLIPWAY_SPACE`: names; win over the stored target.
    pub(crate) org: Option<String>,
    pub(crate) space: Option<String>,
}

impl Environment {
    pub(crate) fn read() -> Self {
        let read = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let token = read("SLIPWAY_TOKEN").map(|token| {
            let bare = token.trim();
            let bare = bare
                .strip_prefix("bearer ")
                .or_else(|| bare.strip_prefix("Bearer "))
                .unwrap_or(bare);
            Secret::new(bare.to_owned())
        });
        Self {
            api: read("SLIPWAY_API"),
            token,
            username: read("SLIPWAY_USERNAME"),
            password: read("SLIPWAY_PASSWORD").map(Secret::new),
            org: read("SLIPWAY_ORG"),
            space: read("SLIPWAY_SPACE"),
        }
    }
}
