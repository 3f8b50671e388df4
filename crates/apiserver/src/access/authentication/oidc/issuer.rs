//! One issuer: where its keys are, and whether a token is good.

use std::sync::Arc;
use std::time::Duration;

use base::Env;
use jiff::Timestamp;
use pki::jwt::{PublicKey, Token};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::claims::Claims;
use super::configuration::{ConfigurationError, Jwt, invalid};
use crate::access::identity::Identity;
use crate::access::remote::{Remote, parse_url};

/// How far clocks may differ when a token says from when it is good.
const LEEWAY_SECONDS: i64 = 300;

/// How often keys are fetched at most for tokens that no known key has signed.
const PAUSE: Duration = Duration::from_secs(1);

/// How long keys are good whose answer does not say.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Believes the tokens of an issuer.
pub(super) struct Issuer {
    jwt: Jwt,
    claims: Claims,
    discovery: Url,
    remote: Remote,
    keys: tokio::sync::Mutex<Keys>,
    env: Env,
}

/// What is known of the keys.
#[derive(Default)]
struct Keys {
    /// Where they are, as the issuer has said.
    location: Option<Url>,
    known: Arc<Vec<PublicKey>>,
    fetched: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// An audience or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Registered {
    aud: Audience,
    exp: f64,
    nbf: Option<f64>,
}

impl Issuer {
    /// The issuer at a place of the configuration.
    pub(super) fn new(index: usize, jwt: Jwt, env: Env) -> Result<Self, ConfigurationError> {
        let path = format!("jwt[{index}]");
        let claims = Claims::new(&jwt, &path)?;
        let authority = Some(jwt.issuer.certificate_authority.as_str()).filter(|pem| !pem.is_empty());
        let remote = Remote::trusting(authority, env.clone());
        let remote = remote.map_err(|err| invalid(format!("{path}.issuer.certificateAuthority"), err))?;
        let discovery = match jwt.issuer.discovery_url.as_str() {
            "" => format!("{}/.well-known/openid-configuration", jwt.issuer.url.trim_end_matches('/')),
            url => url.to_owned(),
        };
        let discovery = parse_url(&discovery).map_err(|err| invalid(format!("{path}.issuer.url"), err))?;
        Ok(Self { jwt, claims, discovery, remote, keys: tokio::sync::Mutex::default(), env })
    }

    /// Whether a token says that it is this issuer's.
    pub(super) fn issued(&self, token: &Token<'_>) -> bool {
        #[derive(Deserialize)]
        struct Issued {
            iss: String,
        }
        token.claims::<Issued>().is_ok_and(|issued| issued.iss == self.jwt.issuer.url)
    }

    pub(super) async fn authenticate(&self, token: &Token<'_>) -> Result<Identity, String> {
        let verify = |why: &dyn std::fmt::Display| format!("oidc: verify token: {why}");
        if self.jwt.algorithms.as_ref().is_some_and(|allowed| !allowed.contains(&token.algorithm)) {
            return Err(verify(&format_args!("oidc: id token signed with unsupported algorithm {}", token.algorithm)));
        }
        let registered: Registered = token.claims().map_err(|err| verify(&err))?;
        let meant = match &registered.aud {
            Audience::One(single) => std::slice::from_ref(single),
            Audience::Several(several) => several,
        };
        let expected = &self.jwt.issuer.audiences;
        if !meant.iter().any(|audience| expected.contains(audience)) {
            return Err(verify(&format_args!("oidc: expected audience in {expected:?} got {meant:?}")));
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds of Unix time fit")]
        let (now, leeway) = (self.env.now().as_second() as f64, LEEWAY_SECONDS as f64);
        if registered.exp <= now {
            return Err(verify(&"oidc: token is expired"));
        }
        if registered.nbf.is_some_and(|from| from > now + leeway) {
            return Err(verify(&"oidc: current time is before the nbf (not before) time"));
        }
        if !token.is_signed_by(&*self.keys(false).await?) && !token.is_signed_by(&*self.keys(true).await?) {
            return Err(verify(&"failed to verify signature: failed to verify id token signature"));
        }
        let claims: Map<String, Value> = token.claims().map_err(|err| verify(&err))?;
        self.claims.user(&claims)
    }

    /// The issuer's keys: those that are known, or with `again` those that it has now.
    async fn keys(&self, again: bool) -> Result<Arc<Vec<PublicKey>>, String> {
        // Who waits for the keys gets those that another has fetched meanwhile.
        let mut keys = self.keys.lock().await;
        let now = self.env.now();
        let is_good = keys.until.is_some_and(|until| until > now);
        let is_recent = keys.fetched.is_some_and(|fetched| fetched.checked_add(PAUSE).is_ok_and(|end| end > now));
        if is_recent || (is_good && !again) {
            return Ok(keys.known.clone());
        }
        let fetched = self.fetch(&mut keys, now).await;
        match fetched {
            Ok(()) => Ok(keys.known.clone()),
            // Tokens that known keys have signed are good while the issuer is away.
            Err(why) if !keys.known.is_empty() => {
                tracing::warn!(issuer = self.jwt.issuer.url, why, "keys of an issuer could not be fetched again");
                keys.fetched = Some(now);
                Ok(keys.known.clone())
            }
            Err(why) => {
                Err(format!("oidc: authenticator for issuer {:?} is not initialized: {why}", self.jwt.issuer.url))
            }
        }
    }

    async fn fetch(&self, keys: &mut Keys, now: Timestamp) -> Result<(), String> {
        let location = match &keys.location {
            Some(location) => location.clone(),
            None => {
                let document = self.remote.get(&self.discovery).await.map_err(|err| err.to_string())?.document;
                let issuer = document["issuer"].as_str().unwrap_or_default();
                if issuer != self.jwt.issuer.url {
                    let expected = &self.jwt.issuer.url;
                    return Err(format!(
                        "oidc: issuer did not match the issuer returned by provider, expected {expected:?} got {issuer:?}"
                    ));
                }
                let location = parse_url(document["jwks_uri"].as_str().unwrap_or_default());
                location.map_err(|err| format!("jwks_uri: {err}"))?
            }
        };
        let answer = self.remote.get(&location).await.map_err(|err| err.to_string())?;
        let listed = answer.document["keys"].as_array().into_iter().flatten();
        keys.known = Arc::new(listed.filter_map(PublicKey::from_jwk).collect());
        keys.location = Some(location);
        keys.fetched = Some(now);
        keys.until = now.checked_add(answer.max_age.unwrap_or(LIFETIME)).ok();
        Ok(())
    }
}
