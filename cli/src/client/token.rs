//! Tokens: got with a password, renewed before they end, kept by whoever gave them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api_types::{TokenError, TokenResponse};
use base64::Engine as _;
use http::{Method, StatusCode};
use model::secret::Secret;

use super::{Call, Client, Payload};
use crate::config::Config;
use crate::error::{CliError, Exit, Outcome};
use crate::ui;

/// `cf`'s margin: a token that ends sooner is renewed before the call.
const MARGIN: Duration = Duration::from_secs(60);
/// `Basic cf:`, the client that every UAA knows.
const BASIC_CF: &str = "Basic Y2Y6";

/// How a client proves who it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    pub(crate) login_url: Option<String>,
    pub(crate) access: Option<Secret<String>>,
    pub(crate) refresh: Option<Secret<String>>,
    /// User and password from the environment, for when there is no token that lasts or can be renewed.
    pub(crate) password: Option<(String, Secret<String>)>,
    /// Where renewed tokens are stored; none for tokens from the environment.
    pub(crate) store: Option<PathBuf>,
}

impl Client {
    /// A token that lasts for the next call.
    pub(super) async fn fresh_token(&self) -> Outcome<String> {
        let tokens = self.tokens().clone();
        if let Some(access) = &tokens.access {
            let lasting =
                seconds_left(access.expose()).is_none_or(|left| left > MARGIN.as_secs() as i64);
            // A token without the means to renew it is sent as it is: the server says what is wrong with it.
            if lasting
                || (tokens.refresh.is_none() && tokens.password.is_none() && tokens.store.is_none())
            {
                return Ok(access.expose().clone());
            }
        }
        self.renew().await
    }

    pub(super) fn can_renew(&self) -> bool {
        let tokens = self.tokens();
        tokens.refresh.is_some() || tokens.password.is_some()
    }

    /// A new token: for the refresh token, or where that is refused, for the password from the environment.
    pub(super) async fn renew(&self) -> Outcome<String> {
        let tokens = self.tokens().clone();
        if let Some(refresh) = &tokens.refresh {
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh.expose().as_str()),
            ];
            if let Ok(renewed) = self.token_call(&form).await? {
                self.keep(&renewed)?;
                return Ok(renewed.access_token.into_exposed());
            }
        }
        let Some((user, password)) = &tokens.password else {
            return Err(self.session_ended(&tokens));
        };
        let fresh = self.password_grant(user, password).await?;
        // What is stored may be the login of somebody else.
        self.tokens().store = None;
        self.keep(&fresh)?;
        Ok(fresh.access_token.into_exposed())
    }

    /// Trades a password for tokens. A refusal is `E-CRED`.
    pub(crate) async fn password_grant(
        &self,
        user: &str,
        password: &Secret<String>,
    ) -> Outcome<TokenResponse> {
        let form = [
            ("grant_type", "password"),
            ("username", user),
            ("password", password.expose().as_str()),
        ];
        let refused = |refusal| wrong_credentials(self.api(), user, &refusal);
        self.token_call(&form).await?.map_err(refused)
    }

    /// The outer result is about the call, the inner one about the grant.
    async fn token_call(
        &self,
        form: &[(&str, &str)],
    ) -> Outcome<Result<TokenResponse, TokenError>> {
        let login = self
            .tokens()
            .login_url
            .clone()
            .unwrap_or_else(|| self.api().to_owned());
        let call = Call::new(
            Method::POST,
            format!("{}/oauth/token", login.trim_end_matches('/')),
        )
        .payload(Payload::form(form))
        .header("authorization", BASIC_CF)
        .without_token();
        let answer = self.send_with(&call, None).await?;
        if answer.status.is_success() {
            return Ok(Ok(answer.read()?));
        }
        match answer.status {
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Ok(Err(serde_json::from_slice(&answer.body).unwrap_or_default()))
            }
            status => Err(super::failure::read(
                &Method::POST,
                "/oauth/token",
                status,
                &answer.headers,
                &answer.body,
            )),
        }
    }

    /// Uses tokens from now on, and stores them where they belong.
    pub(crate) fn keep(&self, fresh: &TokenResponse) -> Outcome {
        let (store, used) = {
            let mut tokens = self.tokens();
            let used = tokens.refresh.clone();
            tokens.access = Some(fresh.access_token.clone());
            tokens.refresh = fresh.refresh_token.clone().or_else(|| used.clone());
            (tokens.store.clone(), used)
        };
        let Some(path) = store else { return Ok(()) };
        // Another command may have changed the target meanwhile; only the tokens are ours to change.
        let mut config = Config::load(&path)?;
        // It may have logged out, or in elsewhere, too: then what is stored is no longer the session that was renewed.
        if config.api.as_deref() != Some(self.api()) || config.refresh_token != used {
            return Ok(());
        }
        config.access_token = Some(fresh.access_token.clone());
        config.refresh_token = self.tokens().refresh.clone();
        config.save(&path)
    }

    fn session_ended(&self, tokens: &Tokens) -> CliError {
        let ago = tokens
            .access
            .as_ref()
            .and_then(|access| seconds_left(access.expose()));
        let since = match ago {
            Some(left) if left < 0 => {
                format!(" (token ended {} ago)", ui::rough(left.unsigned_abs()))
            }
            _ => String::new(),
        };
        not_logged_in(self.api(), &since)
    }
}

fn wrong_credentials(api: &str, user: &str, refusal: &TokenError) -> CliError {
    let message = match (refusal.wait_seconds, refusal.tries_left) {
        (Some(wait), _) => format!(
            "too many wrong passwords for {user}; the next is looked at in {}",
            ui::rough(wait)
        ),
        (None, Some(0)) => {
            "user or password not accepted (no try is left before a wait)".to_owned()
        }
        (None, Some(left)) => {
            let tries = if left == 1 { "try" } else { "tries" };
            format!("user or password not accepted ({left} {tries} left before a wait)")
        }
        (None, None) if refusal.error_description.contains("locked") => {
            "the account is locked after too many wrong passwords".to_owned()
        }
        (None, None) => "user or password not accepted".to_owned(),
    };
    CliError::new("E-CRED", Exit::Login, message)
        .lines([
            "the admin's first password is in server/admin-password in the platform's data folder"
                .to_owned(),
        ])
        .hint(format!("slipway login -a {api} -u {user}"))
}

pub(crate) fn not_logged_in(api: &str, since: &str) -> CliError {
    CliError::new(
        "E-LOGIN",
        Exit::Login,
        format!("not logged in to {api}{since}"),
    )
    .hint("slipway login")
    .hint("CI: set SLIPWAY_USERNAME and SLIPWAY_PASSWORD, or SLIPWAY_TOKEN")
}

/// Seconds until the token ends by its own `exp`; negative if it has. None where it does not say.
fn seconds_left(token: &str) -> Option<i64> {
    #[derive(serde::Deserialize)]
    struct Exp {
        exp: i64,
    }
    let payload = token.split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload.trim_end_matches('='))
        .ok()?;
    let claims: Exp = serde_json::from_slice(&bytes).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(claims.exp.saturating_sub(i64::try_from(now).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!(
            "e30.{}.sig",
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(payload)
        )
    }

    #[test]
    fn the_end_of_a_token_is_read_from_the_token() {
        assert!(seconds_left(&token(r#"{"exp": 4102444800}"#)).expect("says") > 0);
        assert!(seconds_left(&token(r#"{"exp": 1}"#)).expect("says") < 0);
        for silent in ["opaque", "a.b.c", &token("{}"), ""] {
            assert_eq!(seconds_left(silent), None, "{silent}");
        }
    }
}
