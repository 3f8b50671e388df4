//! One issuer of the configuration: whether a token is its, and whose.

use std::sync::Arc;

use base::Env;
use pki::jwt::Token;

use super::claims::Claims;
use super::configuration::{ConfigurationError, Jwt, invalid};
use super::distributed::Distributed;
use super::provider::{Provider, Terms, issuer_of};
use crate::access::identity::Identity;
use crate::access::remote::Remote;

/// Believes the tokens of an issuer.
pub(super) struct Issuer {
    provider: Provider,
    claims: Claims,
    /// Of the claim with the groups, which may be kept elsewhere.
    distributed: Option<Distributed>,
}

impl Issuer {
    /// The issuer at a place of the configuration.
    pub(super) fn new(index: usize, jwt: &Jwt, env: &Env) -> Result<Self, ConfigurationError> {
        let path = format!("jwt[{index}]");
        let claims = Claims::new(jwt, &path)?;
        let authority = Some(jwt.issuer.certificate_authority.as_str()).filter(|pem| !pem.is_empty());
        let remote = Remote::trusting(authority, env.clone());
        let remote = Arc::new(remote.map_err(|err| invalid(format!("{path}.issuer.certificateAuthority"), err))?);
        let terms = Terms { audiences: jwt.issuer.audiences.clone(), algorithms: jwt.algorithms.clone() };
        let terms = Arc::new(terms);
        let discovery = Some(jwt.issuer.discovery_url.as_str()).filter(|url| !url.is_empty());
        let provider = Provider::new(&jwt.issuer.url, discovery, remote.clone(), terms.clone(), env.clone());
        let provider = provider.map_err(|err| invalid(format!("{path}.issuer.url"), err))?;
        let groups = Some(jwt.claim_mappings.groups.claim.as_str()).filter(|claim| !claim.is_empty());
        let distributed = groups.map(|claim| Distributed::new(claim, remote, terms, env.clone()));
        Ok(Self { provider, claims, distributed })
    }

    /// Whether a token says that it is this issuer's.
    pub(super) fn issued(&self, token: &Token<'_>) -> bool {
        issuer_of(token).is_some_and(|issuer| issuer == self.provider.url())
    }

    pub(super) async fn authenticate(&self, token: &Token<'_>) -> Result<Identity, String> {
        let claims = self.provider.verify(token).await;
        let mut claims = claims.map_err(|why| format!("oidc: verify token: {why}"))?;
        if let Some(distributed) = &self.distributed {
            let expanded = distributed.expand(&mut claims).await;
            expanded.map_err(|why| format!("oidc: could not expand distributed claims: {why}"))?;
        }
        self.claims.user(&claims)
    }
}
