//! Who signs tokens: where its keys are, and whether a token is good.

use std::sync::Arc;
use std::time::Duration;

use base::Env;
use jiff::Timestamp;
use pki::jwt::{Algorithm, PublicKey, Token};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use crate::access::remote::{Remote, RemoteError, parse_url};

/// How far clocks may differ when a token says from when it is good.
const LEEWAY_SECONDS: i64 = 300;

/// How often keys are fetched at most for tokens that no known key has signed.
const PAUSE: Duration = Duration::from_secs(1);

/// How long keys are good whose answer does not say.
const LIFETIME: Duration = Duration::from_secs(3600);

/// What is asked of every token.
pub(super) struct Terms {
    /// One of them it is for.
    pub(super) audiences: Vec<String>,
    /// With one of these it is signed; any without them.
    pub(super) algorithms: Option<Vec<Algorithm>>,
}

/// A party that signs tokens and says where its keys are.
pub(super) struct Provider {
    url: String,
    discovery: Url,
    remote: Arc<Remote>,
    terms: Arc<Terms>,
    keys: tokio::sync::Mutex<Keys>,
    env: Env,
}

/// What is known of the keys.
#[derive(Default)]
struct Keys {
    /// Where they are, as the provider has said.
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

/// Who a token says that its issuer is.
pub(super) fn issuer_of(token: &Token<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Issued {
        iss: String,
    }
    token.claims::<Issued>().ok().map(|issued| issued.iss)
}

impl Provider {
    /// The provider of that URL, which is found at `discovery` or where all are.
    pub(super) fn new(
        url: &str,
        discovery: Option<&str>,
        remote: Arc<Remote>,
        terms: Arc<Terms>,
        env: Env,
    ) -> Result<Self, RemoteError> {
        let usual = || format!("{}/.well-known/openid-configuration", url.trim_end_matches('/'));
        let discovery = parse_url(&discovery.map_or_else(usual, str::to_owned))?;
        Ok(Self { url: url.to_owned(), discovery, remote, terms, keys: tokio::sync::Mutex::default(), env })
    }

    /// What is known by this as the issuer of tokens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The claims of a token that is this provider's, if it is good.
    pub(super) async fn verify(&self, token: &Token<'_>) -> Result<Map<String, Value>, String> {
        if self.terms.algorithms.as_ref().is_some_and(|allowed| !allowed.contains(&token.algorithm)) {
            return Err(format!("oidc: id token signed with unsupported algorithm {}", token.algorithm));
        }
        let registered: Registered = token.claims().map_err(|err| err.to_string())?;
        let meant = match &registered.aud {
            Audience::One(single) => std::slice::from_ref(single),
            Audience::Several(several) => several,
        };
        let expected = &self.terms.audiences;
        if !meant.iter().any(|audience| expected.contains(audience)) {
            return Err(format!("oidc: expected audience in {expected:?} got {meant:?}"));
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds of Unix time fit")]
        let (now, leeway) = (self.env.now().as_second() as f64, LEEWAY_SECONDS as f64);
        if registered.exp <= now {
            return Err("oidc: token is expired".to_owned());
        }
        if registered.nbf.is_some_and(|from| from > now + leeway) {
            return Err("oidc: current time is before the nbf (not before) time".to_owned());
        }
        if !token.is_signed_by(&*self.keys(false).await?) && !token.is_signed_by(&*self.keys(true).await?) {
            return Err("failed to verify signature: failed to verify id token signature".to_owned());
        }
        token.claims().map_err(|err| err.to_string())
    }

    /// The provider's keys: those that are known, or with `again` those that it has now.
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
                tracing::warn!(issuer = self.url, why, "keys of an issuer could not be fetched again");
                keys.fetched = Some(now);
                Ok(keys.known.clone())
            }
            Err(why) => Err(format!("oidc: authenticator for issuer {:?} is not initialized: {why}", self.url)),
        }
    }

    async fn fetch(&self, keys: &mut Keys, now: Timestamp) -> Result<(), String> {
        let location = match &keys.location {
            Some(location) => location.clone(),
            None => {
                let document = self.remote.get(&self.discovery).await.map_err(|err| err.to_string())?.document;
                let issuer = document["issuer"].as_str().unwrap_or_default();
                if issuer != self.url {
                    let expected = &self.url;
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
