//! Tokens: ES256 JWTs with UAA's claims. Access tokens live minutes, refresh tokens weeks, and neither passes for the other.

use api_control::Actor;
use api_types::Claims;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp,
};
use model::ids::UserId;
use model::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// Seconds. `cf` asks for a new one when less than 60 are left.
pub(crate) const ACCESS_LIFE: u64 = 20 * 60;
/// Seconds: UAA's 30 days.
const REFRESH_LIFE: u64 = 30 * 24 * 3600;
/// What access tokens are for; UAA's names.
const ACCESS_AUDIENCE: [&str; 3] = ["cloud_controller", "cf", "openid"];
/// What refresh tokens are for. No access token has it, and no refresh token has any of the others.
const REFRESH_AUDIENCE: &str = "slipway.refresh";
pub(crate) const SCOPES: [&str; 5] = [
    "openid",
    "cloud_controller.read",
    "cloud_controller.write",
    "cloud_controller.admin",
    "uaa.user",
];

/// The control plane's token key can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the key that signs tokens is no ES256 key")]
pub struct KeyError(#[source] jsonwebtoken::errors::Error);

/// Makes and checks tokens.
pub(crate) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    key_id: String,
    public: Value,
    issuer: String,
    access: Validation,
    refresh: Validation,
}

/// Claims of a refresh token.
#[derive(Debug, Serialize, Deserialize)]
struct RefreshClaims {
    jti: String,
    sub: String,
    iss: String,
    aud: Vec<String>,
    client_id: String,
    iat: u64,
    exp: u64,
    /// UAA's name: what it holds changes with the user's password, and then the token is worth nothing.
    rev_sig: String,
}

/// Whose refresh token it is, and the mark that it carries.
#[derive(Debug)]
pub(crate) struct Refresh {
    pub(crate) user: UserId,
    pub(crate) mark: String,
}

/// A pair of tokens for one actor.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) access: Secret,
    pub(crate) refresh: Secret,
    pub(crate) jti: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("key_id", &self.key_id)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// `key` is PKCS #8 in DER; tokens name `external_url` as the origin of their issuer.
    pub(crate) fn new(key: &[u8], external_url: &str) -> Result<Self, KeyError> {
        let signing = EncodingKey::from_ec_der(key);
        let jwk = Jwk::from_encoding_key(&signing, Algorithm::ES256).map_err(KeyError)?;
        let verifying = DecodingKey::from_jwk(&jwk).map_err(KeyError)?;
        let AlgorithmParameters::EllipticCurve(point) = &jwk.algorithm else {
            return Err(KeyError(
                jsonwebtoken::errors::ErrorKind::InvalidEcdsaKey.into(),
            ));
        };
        let key_id = format!("slipway-{}", &point.x[..point.x.len().min(8)]);
        let public = json!({
            "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "kid": key_id, "x": point.x, "y": point.y,
        });
        let issuer = format!("{}/oauth/token", external_url.trim_end_matches('/'));
        let [access, refresh] = [ACCESS_AUDIENCE[0], REFRESH_AUDIENCE].map(|audience| {
            let mut validation = Validation::new(Algorithm::ES256);
            validation.set_audience(&[audience]);
            validation.set_issuer(&[&issuer]);
            validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            validation.leeway = 0;
            validation
        });
        Ok(Self {
            signing,
            verifying,
            key_id,
            public,
            issuer,
            access,
            refresh,
        })
    }

    /// The public key, as a JSON Web Key.
    pub(crate) const fn public_key(&self) -> &Value {
        &self.public
    }

    pub(crate) fn issue(
        &self,
        actor: &Actor,
        mark: &str,
        grant: &str,
    ) -> Result<Pair, jsonwebtoken::errors::Error> {
        let now = get_current_timestamp();
        let (jti, user) = (Uuid::new_v4().simple().to_string(), actor.user.to_string());
        let access = Claims {
            jti: jti.clone(),
            sub: user.clone(),
            iss: self.issuer.clone(),
            aud: ACCESS_AUDIENCE.map(str::to_owned).to_vec(),
            client_id: "cf".into(),
            cid: "cf".into(),
            azp: "cf".into(),
            grant_type: grant.to_owned(),
            user_id: Some(user.clone()),
            user_name: Some(actor.name.clone()),
            origin: Some("uaa".into()),
            email: Some(actor.name.clone()),
            scope: SCOPES.map(str::to_owned).to_vec(),
            iat: seconds(now),
            exp: seconds(now + ACCESS_LIFE),
            revocable: None,
        };
        let refresh = RefreshClaims {
            jti: format!("{}-r", Uuid::new_v4().simple()),
            sub: user,
            iss: self.issuer.clone(),
            aud: vec![REFRESH_AUDIENCE.into()],
            client_id: "cf".into(),
            iat: now,
            exp: now + REFRESH_LIFE,
            rev_sig: mark.to_owned(),
        };
        Ok(Pair {
            access: self.sign(&access)?,
            refresh: self.sign(&refresh)?,
            jti,
        })
    }

    fn sign(&self, claims: &impl Serialize) -> Result<Secret, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        encode(&header, claims, &self.signing).map(Secret::new)
    }

    /// Whose access token this is; none where it is anything else than a valid one of ours.
    pub(crate) fn verify_access(&self, token: &str) -> Option<UserId> {
        let claims = decode::<Claims>(token, &self.verifying, &self.access)
            .ok()?
            .claims;
        claims.sub.parse().ok()
    }

    /// Whose refresh token this is; its mark is still to be compared with the user's.
    pub(crate) fn verify_refresh(&self, token: &str) -> Option<Refresh> {
        let claims = decode::<RefreshClaims>(token, &self.verifying, &self.refresh)
            .ok()?
            .claims;
        Some(Refresh {
            user: claims.sub.parse().ok()?,
            mark: claims.rev_sig,
        })
    }
}

fn seconds(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use p256::pkcs8::EncodePrivateKey as _;

    use super::*;

    /// A key that everybody knows.
    fn tokens(scalar: u8, url: &str) -> Tokens {
        let key = p256::SecretKey::from_slice(&[scalar; 32]).expect("a scalar");
        Tokens::new(key.to_pkcs8_der().expect("encodes").as_bytes(), url).expect("a key")
    }

    fn actor() -> Actor {
        Actor {
            user: UserId::random(),
            name: "admin".into(),
        }
    }

    fn claims(token: &str) -> Value {
        let payload = token.split('.').nth(1).expect("three parts");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON")
    }

    #[test]
    fn access_tokens_have_the_claims_that_cf_needs() {
        let (tokens, actor) = (tokens(1, "http://api.localhost"), actor());
        let pair = tokens.issue(&actor, "mark", "password").expect("signs");
        let claims = claims(pair.access.expose());
        for name in [
            "exp",
            "iat",
            "jti",
            "user_id",
            "user_name",
            "origin",
            "client_id",
            "scope",
        ] {
            assert!(!claims[name].is_null(), "{name} in {claims}");
        }
        assert_eq!(claims["origin"], "uaa");
        assert_eq!(claims["iss"], "http://api.localhost/oauth/token");
        assert!(
            claims.get("revocable").is_none(),
            "cf would try to revoke it"
        );
        assert_eq!(tokens.verify_access(pair.access.expose()), Some(actor.user));
        let refresh = tokens.verify_refresh(pair.refresh.expose());
        let refresh = refresh.expect("a refresh token");
        assert_eq!((refresh.user, refresh.mark.as_str()), (actor.user, "mark"));
    }

    #[test]
    fn neither_kind_of_token_passes_for_the_other() {
        let tokens = tokens(1, "http://api.localhost");
        let pair = tokens.issue(&actor(), "mark", "password").expect("signs");
        assert_eq!(tokens.verify_access(pair.refresh.expose()), None);
        assert!(tokens.verify_refresh(pair.access.expose()).is_none());
    }

    #[test]
    fn forged_foreign_and_old_tokens_are_refused() {
        let ours = tokens(1, "http://api.localhost");
        let actor = actor();
        let valid = ours
            .issue(&actor, "mark", "password")
            .expect("signs")
            .access
            .into_exposed();
        let payload = claims(&valid);
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let unsigned = format!(
            "{}.{}.",
            part(&json!({"alg": "none", "typ": "JWT"})),
            part(&payload)
        );
        let symmetric = encode(
            &Header::new(Algorithm::HS256),
            &payload,
            &EncodingKey::from_secret(b"slipway"),
        )
        .expect("signs");
        let with = |name: &str, value: Value| {
            let mut changed = payload.clone();
            changed[name] = value;
            ours.sign(&changed).expect("signs").into_exposed()
        };
        let mut cut = valid.clone();
        cut.truncate(valid.len() - 4);
        for (what, token) in [
            (
                "another key",
                tokens(2, "http://api.localhost")
                    .issue(&actor, "mark", "password")
                    .expect("signs")
                    .access
                    .into_exposed(),
            ),
            (
                "another issuer",
                tokens(1, "http://elsewhere")
                    .issue(&actor, "mark", "password")
                    .expect("signs")
                    .access
                    .into_exposed(),
            ),
            ("no signature", unsigned),
            ("a symmetric signature", symmetric),
            ("a cut signature", cut),
            (
                "an old one",
                with("exp", json!(payload["iat"].as_i64().expect("seconds") - 1)),
            ),
            ("one for others", with("aud", json!(["somebody"]))),
            ("one without expiry", with("exp", Value::Null)),
            ("one of nobody", with("sub", json!("nobody"))),
            ("nothing", String::new()),
        ] {
            assert_eq!(ours.verify_access(&token), None, "{what}");
        }
        assert_eq!(ours.verify_access(&valid), Some(actor.user));
    }

    #[test]
    fn the_public_key_holds_no_private_part() {
        let tokens = tokens(1, "http://api.localhost");
        assert_eq!(tokens.public_key()["crv"], "P-256");
        assert!(tokens.public_key().get("d").is_none());
        assert!(!format!("{tokens:?}").contains("signing"));
    }
}
