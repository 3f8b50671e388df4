//! Identity providers of others: tokens that an OIDC issuer signs, and how their claims become users.

mod claims;
mod configuration;
mod distributed;
mod issuer;
mod provider;

use arc_swap::ArcSwap;
use base::Env;

use crate::access::identity::Identity;

use configuration::Anonymous;
pub(super) use configuration::{Beside, Configuration};
pub use configuration::{ConfigurationError, OidcFlags};
use issuer::Issuer;

/// What an AuthenticationConfiguration, or the flags in its place, say now.
pub(super) struct Oidc {
    current: ArcSwap<Current>,
    beside: Beside,
    env: Env,
}

struct Current {
    issuers: Vec<Issuer>,
    anonymous: Option<Anonymous>,
}

impl Current {
    fn new(configuration: Configuration, env: &Env) -> Result<Self, ConfigurationError> {
        let issuers = configuration.jwt.iter().enumerate().map(|(index, jwt)| Issuer::new(index, jwt, env));
        Ok(Self { issuers: issuers.collect::<Result<_, _>>()?, anonymous: configuration.anonymous })
    }
}

impl Oidc {
    pub(super) fn new(configuration: Configuration, beside: Beside, env: Env) -> Result<Self, ConfigurationError> {
        Ok(Self { current: ArcSwap::from_pointee(Current::new(configuration, &env)?), beside, env })
    }

    /// Takes another configuration, if it is a good one.
    pub(super) fn replace(&self, text: &str) -> Result<(), ConfigurationError> {
        let configuration = Configuration::parse(text, &self.beside)?;
        self.current.store(std::sync::Arc::new(Current::new(configuration, &self.env)?));
        Ok(())
    }

    pub(super) async fn authenticate(&self, token: &str) -> Result<Option<Identity>, String> {
        let Some(parsed) = pki::jwt::parse(token) else { return Ok(None) };
        let current = self.current.load_full();
        for issuer in &current.issuers {
            if issuer.issued(&parsed) {
                return issuer.authenticate(&parsed).await.map(Some);
            }
        }
        Ok(None)
    }

    /// Whether somebody who shows nothing may ask for this path as nobody. What nobody may do is authorization's.
    pub(super) fn allows_anonymous(&self, path: &str) -> bool {
        self.current.load().anonymous.as_ref().is_none_or(|anonymous| anonymous.allows(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rules: &str, expected: &str) {
        let text = format!(
            "{{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration, jwt: [{{issuer: {{url: \
             'https://a', audiences: [b]}}, claimMappings: {{username: {{claim: sub, prefix: ''}}}}, {rules}}}]}}"
        );
        let beside = Beside { own: Vec::new(), anonymous_auth: None };
        let configuration = Configuration::parse(&text, &beside).expect("a good form");
        let why = Current::new(configuration, &Env::system()).map(drop).expect_err("wrong rules").to_string();
        let why = why.strip_prefix("invalid authentication configuration: jwt[0].").unwrap_or(&why);
        assert!(why.starts_with(expected), "{why}");
    }

    #[test]
    fn wrong_rules_are_named() {
        let place = "claimValidationRules[0]";
        check("claimValidationRules: [{}]", &format!("{place}: claim or expression is required"));
        check("claimValidationRules: [{claim: a, expression: b}]", &format!("{place}: claim and expression can't"));
        check("claimValidationRules: [{claim: a, message: b}]", &format!("{place}.message: may not be specified"));
        check("claimValidationRules: [{expression: a, requiredValue: b}]", &format!("{place}.requiredValue: may not"));
        check("claimValidationRules: [{claim: a}, {claim: a}]", "claimValidationRules[1].claim: duplicate value");
        check("claimValidationRules: [{expression: claims.a}]", &format!("{place}.expression: "));
        check("userValidationRules: [{expression: ''}]", "userValidationRules[0].expression: required value");
        check("userValidationRules: [{expression: user.name == ''}]", "userValidationRules[0].expression: ");
    }
}
