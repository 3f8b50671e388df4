//! Claims that are not in a token but kept elsewhere (OpenID Connect Core, 5.6.2): `_claim_names` says by which source a
//! claim is had, `_claim_sources` where that is. Providers do so with long lists of groups.

use std::collections::HashMap;
use std::sync::Arc;

use base::Env;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::provider::{Provider, Terms, issuer_of};
use crate::access::remote::{Remote, parse_url};

const NAMES: &str = "_claim_names";
const SOURCES: &str = "_claim_sources";

/// How many issuers of such claims are remembered.
const MAX_PROVIDERS: usize = 64;

/// Fetches one claim where it is kept elsewhere.
pub(super) struct Distributed {
    claim: String,
    remote: Arc<Remote>,
    terms: Arc<Terms>,
    /// Who has signed such claims, by their URLs.
    providers: Mutex<HashMap<String, Arc<Provider>>>,
    env: Env,
}

/// Where a claim is kept.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    /// Without one, the claim is in the token after all, in a token of its own; upstream reads none of those.
    endpoint: String,
    access_token: String,
}

fn read<T: DeserializeOwned>(value: &Value, what: &str) -> Result<T, String> {
    T::deserialize(value).map_err(|err| format!("oidc: {what}: {err}"))
}

impl Distributed {
    pub(super) fn new(claim: &str, remote: Arc<Remote>, terms: Arc<Terms>, env: Env) -> Self {
        Self { claim: claim.to_owned(), remote, terms, providers: Mutex::default(), env }
    }

    /// Adds the claim, unless it is there or nowhere else.
    pub(super) async fn expand(&self, claims: &mut Map<String, Value>) -> Result<(), String> {
        let Some(names) = claims.get(NAMES).filter(|_| !claims.contains_key(&self.claim)) else { return Ok(()) };
        let names: HashMap<String, String> = read(names, "error parsing distributed claim names")?;
        let sources = claims.get(SOURCES).ok_or("oidc: no claim sources")?;
        let sources: HashMap<String, Source> = read(sources, "could not parse claim sources")?;
        let Some(name) = names.get(&self.claim) else { return Ok(()) };
        let missing = || format!("id token _claim_names contained a source {name} missing in _claims_sources");
        let source = sources.get(name).ok_or_else(missing)?;
        if source.endpoint.is_empty() {
            return Ok(());
        }
        let value = self.fetch(source).await?;
        claims.insert(self.claim.clone(), value);
        Ok(())
    }

    async fn fetch(&self, source: &Source) -> Result<Value, String> {
        let (claim, endpoint) = (&self.claim, &source.endpoint);
        let failed = |why: &dyn std::fmt::Display| format!("while getting distributed claim {claim:?}: {why}");
        let url = parse_url(endpoint).map_err(|err| failed(&err))?;
        let bearer = Some(source.access_token.as_str()).filter(|token| !token.is_empty());
        let text = self.remote.get_text(&url, bearer).await.map_err(|err| failed(&err))?;
        let token = pki::jwt::parse(text.trim()).ok_or_else(|| failed(&"the answer is no signed token"))?;
        let issuer = issuer_of(&token).ok_or_else(|| {
            format!("getting untrusted issuer from endpoint {endpoint} failed for claim {claim:?}: it names none")
        })?;
        let provider = self.provider(&issuer).await?;
        let found = provider.verify(&token).await;
        let mut found = found.map_err(|why| format!("verify distributed claim token: {why}"))?;
        found.remove(claim).ok_or_else(|| {
            format!("jwt returned by distributed claim endpoint {endpoint:?} did not contain claim: {claim}")
        })
    }

    async fn provider(&self, issuer: &str) -> Result<Arc<Provider>, String> {
        let mut providers = self.providers.lock().await;
        if let Some(known) = providers.get(issuer) {
            return Ok(known.clone());
        }
        let made = Provider::new(issuer, None, self.remote.clone(), self.terms.clone(), self.env.clone());
        let made = Arc::new(made.map_err(|err| format!("verifying untrusted issuer {issuer} failed: {err}"))?);
        if providers.len() >= MAX_PROVIDERS {
            providers.clear();
        }
        providers.insert(issuer.to_owned(), made.clone());
        Ok(made)
    }
}
